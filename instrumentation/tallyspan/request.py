"""What a request says of itself: its model, whether it streams, who the end user is."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from tallyspan.answer import Json, mapping, parsed, text
from tallyspan.wire_format import RequestKeys

SMALL_BODY = 16 << 10
"""Bytes up to which a body is parsed as a whole; larger ones are searched for the few keys."""


class Request(NamedTuple):
    """Empty where the request does not say."""

    model: str = ""
    is_stream: bool = False
    user_id: str = ""
    looks_like_a_call: bool = False


class _Patterns(NamedTuple):
    """What finds the keys of a format in the bytes of a large body or of a form."""

    model: re.Pattern[bytes]
    stream: re.Pattern[bytes]
    user: re.Pattern[bytes]
    call: re.Pattern[bytes]
    form: re.Pattern[bytes]


def read(body: bytes, keys: RequestKeys) -> Request:
    """Return what a JSON object or a form with files says; nothing for any other body."""
    if body.startswith(b"--"):
        return _read_form(body, keys)
    if len(body) <= SMALL_BODY:
        return _read_whole(body, keys)
    patterns = _patterns(keys)
    models = set(patterns.model.findall(body))
    streams = set(patterns.stream.findall(body))
    # The same key deeper down (a tool's schema, say) makes the short cut ambiguous.
    if len(models) > 1 or len(streams) > 1:
        return _read_whole(body, keys)
    user = patterns.user.search(body)
    return Request(
        model=next(iter(models)).decode("utf-8", "replace") if models else "",
        is_stream=b"true" in streams,
        user_id=user[1].decode("utf-8", "replace") if user else "",
        looks_like_a_call=patterns.call.search(body) is not None,
    )


def form(fields: Iterable[tuple[object, object]]) -> bytes:
    """Return the body of a form (multipart/form-data) with the fields that are text, and no file.

    For clients that make the body while they send it.
    """
    return b"--" + b"".join(
        f'\r\nname="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
        if isinstance(value, str)
    )


def _read_whole(body: bytes, keys: RequestKeys) -> Request:
    try:
        content: Json = mapping(parsed(body))
    except ValueError:
        return Request()
    return Request(
        model=text(content.get(keys.model)),
        is_stream=content.get(keys.stream) is True,
        user_id=_user(content, keys),
        looks_like_a_call=not keys.call.isdisjoint(content),
    )


def _user(content: Json, keys: RequestKeys) -> str:
    for key, inner_key in keys.user_pairs:
        value = content.get(key)
        if inner_key:
            value = value.get(inner_key) if isinstance(value, dict) else ""
        if value and isinstance(value, str):
            return value
    return ""


def _read_form(body: bytes, keys: RequestKeys) -> Request:
    fields = {
        name.decode(): value.decode("utf-8", "replace")
        for name, value in _patterns(keys).form.findall(body)
    }
    return Request(
        model=fields.get(keys.model, ""),
        is_stream=fields.get(keys.stream, "").lower() == "true",
        user_id=_user(fields, keys),
        looks_like_a_call=keys.model in fields,
    )


@lru_cache(maxsize=64)
def _patterns(keys: RequestKeys) -> _Patterns:
    user_keys = [inner_key or key for key, inner_key in keys.user_pairs]
    fields = "|".join(re.escape(key) for key in (keys.model, keys.stream, *user_keys) if key)
    return _Patterns(
        model=_pattern([keys.model], r'"([^"\\]{1,200})"'),
        stream=_pattern([keys.stream], r"(true|false)"),
        user=_pattern(user_keys, r'"([^"\\]{1,256})"'),
        call=_pattern(sorted(keys.call), ""),
        form=re.compile(
            rf'\bname="({fields})"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{{1,256}})\r\n'.encode()
        ),
    )


def _pattern(keys: list[str], value: str) -> re.Pattern[bytes]:
    """Return what finds one of the keys with such a value; nothing where there are no keys."""
    alternatives = "|".join(re.escape(key) for key in keys if key)
    if not alternatives:
        return re.compile(rb"(?!)")
    return re.compile(rf'(?<!\\)"(?:{alternatives})"\s*:\s*{value}'.encode())
