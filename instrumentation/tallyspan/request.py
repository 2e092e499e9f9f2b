"""What a request says of itself: its model, whether it streams, who the end user is."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from tallyspan.answer import Json, mapping, parsed, text

SMALL_BODY = 16 << 10
"""Bytes up to which a body is parsed as a whole; larger ones are searched for the few keys."""

_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([^"\\]{1,200})"')
_STREAM = re.compile(rb'(?<!\\)"stream"\s*:\s*(true|false)')
_LOOKS_LIKE_A_CALL = re.compile(
    rb'(?<!\\)"(?:messages|inputs?|prompt|contents|instructions|documents|text_1)"\s*:'
)
_KEYS_OF_CALLS = frozenset(
    ("messages", "input", "inputs", "prompt", "contents", "instructions", "documents", "text_1")
)
_USER = re.compile(rb'(?<!\\)"(?:safety_identifier|user|user_id)"\s*:\s*"([^"\\]{1,256})"')
_FIELD = re.compile(rb'\bname="(model|stream|user)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,256})\r\n')


class Request(NamedTuple):
    """Empty where the request does not say."""

    model: str = ""
    is_stream: bool = False
    user_id: str = ""
    looks_like_a_call: bool = False


def read(body: bytes) -> Request:
    """Return what a JSON object or a form with files says; nothing for any other body."""
    if body.startswith(b"--"):
        return _read_form(body)
    if len(body) <= SMALL_BODY:
        return _read_whole(body)
    models = set(_MODEL.findall(body))
    streams = set(_STREAM.findall(body))
    # The same key deeper down (a tool's schema, say) makes the short cut ambiguous.
    if len(models) > 1 or len(streams) > 1:
        return _read_whole(body)
    user = _USER.search(body)
    return Request(
        model=next(iter(models)).decode("utf-8", "replace") if models else "",
        is_stream=b"true" in streams,
        user_id=user[1].decode("utf-8", "replace") if user else "",
        looks_like_a_call=bool(_LOOKS_LIKE_A_CALL.search(body)),
    )


def _read_whole(body: bytes) -> Request:
    try:
        said: Json = mapping(parsed(body))
    except ValueError:
        return Request()
    return Request(
        model=text(said.get("model")),
        is_stream=said.get("stream") is True,
        user_id=text(said.get("safety_identifier"))
        or text(said.get("user"))
        or text(mapping(said.get("metadata")).get("user_id")),
        looks_like_a_call=not _KEYS_OF_CALLS.isdisjoint(said),
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


def _read_form(body: bytes) -> Request:
    said = {name: value.decode("utf-8", "replace") for name, value in _FIELD.findall(body)}
    return Request(
        model=said.get(b"model", ""),
        is_stream=said.get(b"stream", "").lower() == "true",
        user_id=said.get(b"user", ""),
        looks_like_a_call=b"model" in said,
    )
