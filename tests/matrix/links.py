"""Links that expire, and redirects that lead astray."""

from tests.matrix.cases import Family

family = Family("links", "Links and redirects")
