"""What a reader hands on: the columns of the spans of one shape."""

from typing import NamedTuple

from tallyspan_collector.columns.shapes import Shape

ID_BYTES = 40
"""Of a row's ids: trace 16, span 8, parent 8, and an int64: whether there is a parent."""


class Part(NamedTuple):
    """Rows of one shape, in the order in which they came; numbers are little-endian.

    A row has 40 bytes in `ids` (see ID_BYTES), two int64 in `times` (start and end, nanoseconds
    since 1970), a byte in `errors` (1: the span's status is an error), an int32 in `sorts` (number
    in `shape.sorts`) and one in `requests` (as it was passed to `add`). `counts`, `texts` and
    `amounts` go by the columns of `shape.layout`: int64, text, and USD that the sender worked out;
    `seconds` are float64 until the first chunk, empty where the shape has none.
    """

    shape: Shape
    rows: int
    ids: bytes
    times: bytes
    errors: bytes
    sorts: bytes
    requests: bytes
    counts: list[bytes]
    texts: list[list[str]]
    seconds: bytes
    amounts: list[list[float]]
