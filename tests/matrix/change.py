"""A file that becomes another while it is fetched, or between two runs."""

from tests.matrix.cases import Family

family = Family("change", "Change")
