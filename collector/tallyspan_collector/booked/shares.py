"""An amount in parts: whole pico-dollars that add up to it, whatever the weights are."""

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])


def apportion(amount: int, weights: Mapping[Key, Fraction]) -> dict[Key, int]:
    """Return the part of each key, in proportion to its weight; together they are the amount.

    Weights are 0 or more and not all 0. Parts are rounded down, and what that leaves goes to the
    largest remainders, one each; of equal ones to the first key.
    """
    total = sum(weights.values(), Fraction(0))
    exact = {key: amount * weight / total for key, weight in weights.items() if weight}
    parts = {key: int(part // 1) for key, part in exact.items()}
    left = amount - sum(parts.values())
    for key in sorted(exact, key=lambda each: (parts[each] - exact[each], each))[:left]:
        parts[key] += 1
    return parts
