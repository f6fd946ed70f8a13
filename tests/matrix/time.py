"""Answers that come late, in drops, or not at all."""

from tests.matrix.cases import Family

family = Family("time", "Time")
