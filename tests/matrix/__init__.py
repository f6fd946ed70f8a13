"""One crawl over one list with one row per fault: what servers and disks do, and what comes of it.

Each module holds a family of cases; `cases.py` says what a case is, `test_matrix.py` runs them all
in one process, and `table.py` makes the README's table of them, so that it stays true.
"""
