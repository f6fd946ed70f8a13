"""How much of a limit each of several processes gets, so that together they keep it."""

from __future__ import annotations


def shares(total: int, count: int) -> list[int]:
    """``total`` in ``count`` whole parts, as even as can be, the larger ones first.

    :param count: at least 1.
    """
    each, rest = divmod(total, count)
    return [each + (number < rest) for number in range(count)]
