"""The checksums of SQLite's log: https://www.sqlite.org/walformat.html#checksum_algorithm."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint32]


def sums(data: bytes, before: Sequence[int] = (0, 0), order: str = "=") -> tuple[int, ...]:
    """Return SQLite's checksum of the bytes, which goes on where another one ended.

    For each pair of words: the first sum grows by the first word and the second sum, then the
    second sum by the second word and the first sum, all modulo 2**32. What a word adds to the
    result depends on its place alone.
    """
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)
    weights = _weights(len(words))
    first, second = words[:, 0], words[:, 1]
    # a pair (x, y) changes both sums from (0, 0) to (x, x + y)
    total = _dot(weights[:-1], first, first + second)
    old = _dot(weights[-1:], *np.array([before], np.uint32).T)
    return tuple((total + old).tolist())


def _dot(weights: _Words, first: _Words, second: _Words) -> _Words:
    products = weights[:, :, 0] * first[:, None] + weights[:, :, 1] * second[:, None]
    total: _Words = products.sum(0, dtype=np.uint32)
    return total


@cache
def _weights(pairs: int) -> _Words:
    """Return what both sums after the last pair owe to those after each pair, then to the first.

    A step is the matrix ((1, 1), (1, 2)); its powers, highest first, then that of all steps.
    """
    step = np.array([[1, 1], [1, 2]], np.uint32)
    powers = [np.eye(2, dtype=np.uint32)]
    for _ in range(pairs):
        powers.append(step @ powers[-1])
    return np.array([*reversed(powers[:-1]), powers[-1]])


class Bit(NamedTuple):
    """A bit of some bytes: which byte, and which bit of it, the lowest is 0."""

    byte: int
    bit: int


def wrong_bits(data: bytes, before: Sequence[int], wanted: Sequence[int], order: str) -> list[Bit]:
    """Return the bits of the data each of which alone, turned, gives the wanted checksum."""
    words = np.frombuffer(data, f"{order}u4").astype(np.uint32).reshape(-1, 2)
    weights = _weights(len(words))[:-1]
    # what one more in the first and in the second word of each pair adds to both sums
    adds = np.stack([weights.sum(2, dtype=np.uint32), weights[:, :, 1]], 1).reshape(-1, 2)
    lack = np.array(wanted, np.uint32) - np.array(sums(data, before, order), np.uint32)
    result = []
    for bit in range(32):
        step = adds << np.uint32(bit)
        is_set = (words.reshape(-1) >> np.uint32(bit)) & 1 == 1
        is_right = np.where(is_set[:, None], -step == lack, step == lack).all(1)
        for word in np.nonzero(is_right)[0].tolist():
            byte = bit // 8 if order == "<" else 3 - bit // 8
            result.append(Bit(4 * word + byte, bit % 8))
    return result


def turned(data: bytes, bit: Bit) -> bytes:
    """Return the data with this bit turned."""
    result = bytearray(data)
    result[bit.byte] ^= 1 << bit.bit
    return bytes(result)
