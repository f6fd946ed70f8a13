"""Texts by their grammar, then damaged: what gets past a parser's first look."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st

AnyText = TypeVar("AnyText", str, bytes)

EXAMPLES = 250
"""For each parser in the suite; by the profile ``fuzz`` there are more."""

fuzz = settings(max_examples=max(EXAMPLES, settings().max_examples))


@st.composite
def mutated(
    draw: st.DrawFn,
    texts: st.SearchStrategy[AnyText],
    specials: Sequence[AnyText],
    most: int = 3,
) -> AnyText:
    """One of the texts, as it is or with up to ``most`` changes: something lost, doubled, moved to
    the end, or something special put in."""
    text = draw(texts)
    for _ in range(draw(st.integers(0, most))):
        start = draw(st.integers(0, len(text)))
        end = min(start + draw(st.integers(1, 12)), len(text))
        before, middle, after = text[:start], text[start:end], text[end:]
        match draw(st.integers(0, 3)):
            case 0:
                text = before + after
            case 1:
                text = before + middle + middle + after
            case 2:
                text = before + after + middle
            case _:
                text = before + draw(st.sampled_from(specials)) + middle + after
    return text
