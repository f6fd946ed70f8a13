"""Pages instead of files, and compression that nobody asked for."""

from tests.matrix.cases import Family

family = Family("content", "Content")
