"""Connections and bodies that end where they should not (RFC 9112, sections 6 and 8)."""

from tests.matrix.cases import Family

family = Family("breaks", "Breaks")
