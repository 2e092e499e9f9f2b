"""Columns in ClickHouse's Native format, from buffers: an int64 array is its own encoding.

Source: ClickHouse, formats/Native: a block is the number of columns and rows, then each column's
name, type and values. A LowCardinality column is a version, then a dictionary and a number a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
_VERSION = (1).to_bytes(8, "little")
"""What a column of LowCardinality begins with: keys shared by the whole column."""
_HAS_KEYS = (1 << 9) | (1 << 10)
"""The dictionary follows, and replaces any before."""
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_BYTE = 1 << 8
_MAX_SHORT = 128
_SHORT = [bytes([size]) for size in range(_MAX_SHORT)]


def varint(number: int) -> bytes:
    """Return an unsigned integer in seven bits a byte."""
    result = bytearray()
    while number >= _MAX_SHORT:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def strings(values: Iterable[str]) -> bytes:
    """Return the values of a String column, or of a dictionary."""
    parts: list[bytes] = []
    for value in values:
        raw = value.encode()
        parts += (_SHORT[len(raw)] if len(raw) < _MAX_SHORT else varint(len(raw)), raw)
    return b"".join(parts)


def hexadecimal(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the lower-case digits of each row's bytes: two for each."""
    digits = np.empty((*raw.shape, 2), np.uint8)
    digits[..., 0], digits[..., 1] = _DIGITS[raw >> 4], _DIGITS[raw & 15]
    return digits.reshape(raw.shape[0], -1)


def labels(words: Sequence[str], number: Integers) -> bytes:
    """Return a LowCardinality(String) column whose row i is `words[number[i]]`."""
    return _VERSION + _dictionary(words, number)


def numbered(values: Iterable[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the different values, and the number of each value among them."""
    at: dict[str, int] = {}
    numbers = [at.setdefault(each, len(at)) for each in values]
    return list(at), np.array(numbers, np.int64)


def nullable(values: Integers, is_null: NDArray[np.bool_]) -> bytes:
    """Return a Nullable column of eight bytes a row; a NULL has the value 0."""
    plain = np.where(is_null, 0, values) if is_null.any() else values
    return is_null.tobytes() + plain.tobytes()


def nulls(rows: int) -> bytes:
    """Return such a column that is NULL throughout."""
    return b"\1" * rows + b"\0" * (8 * rows)


def arrays(values: Sequence[Sequence[str]], number: Integers) -> bytes:
    """Return an Array(LowCardinality(String)) column whose row i is `values[number[i]]`."""
    offsets, flat = _flattened(values, number)
    if not len(flat):
        return _VERSION + offsets
    words, numbers = numbered(each for row in values for each in row)
    return _VERSION + offsets + _dictionary(words, numbers[flat])


def maps(values: Sequence[Mapping[str, str]], number: Integers, *, has_labels: bool) -> bytes:
    """Return a Map(LowCardinality(String), ...) column whose row i is `values[number[i]]`.

    `has_labels`: its values are LowCardinality(String), else String.
    """
    prefix = _VERSION * 2 if has_labels else _VERSION
    offsets, flat = _flattened([tuple(each) for each in values], number)
    if not len(flat):
        return prefix + offsets
    keys, key_at = numbered(key for each in values for key in each)
    column = prefix + offsets + _dictionary(keys, key_at[flat])
    texts = [text for each in values for text in each.values()]
    if not has_labels:
        return column + strings([texts[at] for at in flat.tolist()])
    words, word_at = numbered(texts)
    return column + _dictionary(words, word_at[flat])


def block(columns: Mapping[str, bytes], types: Mapping[str, str], rows: int) -> bytes:
    """Return one block of encoded columns, in the order they have."""
    parts = [varint(len(columns)), varint(rows)]
    for name, values in columns.items():
        parts += (strings((name, types[name])), values)
    return b"".join(parts)


def _dictionary(words: Sequence[str], number: Integers) -> bytes:
    width = 0 if len(words) < _BYTE else 1 if len(words) < _BYTE * _BYTE else 2
    return b"".join(
        (
            (_HAS_KEYS | width).to_bytes(8, "little"),
            len(words).to_bytes(8, "little"),
            strings(words),
            len(number).to_bytes(8, "little"),
            number.astype(f"<u{1 << width}").tobytes(),
        )
    )


def _flattened(
    values: Sequence[Sequence[object]], number: Integers
) -> tuple[bytes, NDArray[np.int64]]:
    """Return where each row ends, and of all rows' items their places among those of `values`."""
    sizes = np.array([len(each) for each in values], np.int64)
    starts = np.cumsum(sizes) - sizes
    of_rows = sizes[number]
    ends = np.cumsum(of_rows)
    total = int(ends[-1]) if len(ends) else 0
    within = np.arange(total) - np.repeat(ends - of_rows, of_rows)
    return ends.astype("<u8").tobytes(), np.repeat(starts[number], of_rows) + within
