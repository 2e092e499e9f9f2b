"""Where the next page begins: values of the last row, tied to the question they answer."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from tallyspan_clickhouse.query.errors import RequestError

MAX_CHARACTERS = 16_384
_MAX_NUMBER = 1 << 63


def fingerprint(*question: object) -> str:
    """Return what two equal questions have in common, and no two others."""
    return hashlib.blake2b(repr(question).encode(), digest_size=6).hexdigest()


def write_cursor(question: str, values: Sequence[str | int]) -> str:
    """Return the text a reader hands back for the rows behind these values."""
    text = json.dumps([question, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, question: str, kinds: Sequence[type]) -> list[str | int]:
    """Return the values in the cursor, of these types.

    Raises RequestError for what is not ours, and for the cursor of another question.
    """
    of_question, values = _decoded(cursor)
    is_other = of_question is not None and of_question != question
    if not is_other and (of_question is None or not _fits(values, kinds)):
        raise RequestError(
            "cursor must be the next_cursor of an earlier answer, unchanged; leave it out to begin"
        )
    if is_other:
        raise RequestError(
            "cursor must be the next_cursor of an answer to the same question: keep every parameter"
            " but limit, or leave cursor out to begin"
        )
    return values


def _fits(values: Sequence[str | int], kinds: Sequence[type]) -> bool:
    return [type(value) for value in values] == list(kinds) and all(
        0 <= value < _MAX_NUMBER for value in values if isinstance(value, int)
    )


def _decoded(cursor: str) -> tuple[str | None, list[str | int]]:
    try:
        if len(cursor) > MAX_CHARACTERS:
            return None, []
        padded = cursor + "=" * (-len(cursor) % 4)
        match json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)):
            case [str(of_question), *values]:
                return of_question, values
    except (ValueError, binascii.Error, RecursionError):
        pass
    return None, []
