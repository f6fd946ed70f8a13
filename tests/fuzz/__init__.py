"""Fuzzing of all that reads what others wrote: an answer or an error of its own, and no other.

A few hundred inputs for each parser in the suite; 100,000 by hand, or every night:

    python -m pytest tests/fuzz --hypothesis-profile=fuzz
"""
