"""Servers that have too much to do, and those that bear few connections."""

from tests.matrix.cases import Family

family = Family("load", "Load")
