"""Paired measurements against other downloaders: ``python -m tests.benchmarks``."""
