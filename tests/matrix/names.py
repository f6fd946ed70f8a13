"""Names from headers, addresses and lists that want to leave the folder."""

from tests.matrix.cases import Family

family = Family("names", "Names")
