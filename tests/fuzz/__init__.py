"""Parsers of what strangers send, given anything: an answer or an error of their own, no other.

What is tried is made from a grammar and then spoiled, so that it comes far into the parser.
`python -m pytest tests/fuzz --hypothesis-profile=fuzz` tries 100,000 inputs for each of them.
"""

from collections.abc import Callable, Sequence
from typing import AnyStr, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

F = TypeVar("F", bound=Callable[..., object])

EXAMPLES = 300
"""Inputs for each test where no profile asks for more."""


def fuzz(test: F) -> F:
    """Decorator: as many inputs as the profile says, a few hundred at least."""
    most = max(EXAMPLES, settings().max_examples)
    decorate: Callable[[F], F] = settings(
        max_examples=most, suppress_health_check=list(HealthCheck)
    )
    return decorate(test)


def mutated(
    valid: st.SearchStrategy[AnyStr], special: Sequence[AnyStr], most: int = 3
) -> st.SearchStrategy[AnyStr]:
    """Valid texts, and such in which up to ``most`` places were cut out or written over.

    :param special: what parsers stumble over, in this grammar.
    """
    edits = st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 6), st.sampled_from(special)),
        max_size=most,
    )

    def spoil(text: AnyStr, changes: list[tuple[int, int, AnyStr]]) -> AnyStr:
        for place, length, piece in changes:
            at = place % (len(text) + 1)
            text = text[:at] + piece + text[at + length :]
        return text

    return st.builds(spoil, valid, edits)
