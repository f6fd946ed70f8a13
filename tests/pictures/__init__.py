"""Pictures for the README, made from real runs: ``python -m tests.pictures``."""
