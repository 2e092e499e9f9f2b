"""TALLYSPAN_INCLUDE_STREAM_USAGE=1: ask for the usage of streams, and hide the event that says it.

Chat Completions state a stream's usage only if `stream_options.include_usage` is set; it comes in
an event of its own with `choices: []`. Source: OpenAI's API reference. Off by default, for it is
the one thing of ours that changes what an application sends.
"""

import json
import os
import re

from tallyspan.answer import mapping
from tallyspan.endpoints import Endpoint
from tallyspan.framing.lines import MAX_EVENT_BYTES
from tallyspan.guard import note

VARIABLE = "TALLYSPAN_INCLUDE_STREAM_USAGE"
_WANT_TO_BE_ASKED = {"openai", "azure.ai.openai", "fireworks"}
"""Providers that state the usage of a stream only when asked, and servers that speak like them."""
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")
_HAS_USAGE = re.compile(rb'"usage"\s*:\s*\{')


def is_wanted() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get(VARIABLE, "").lower() in {"1", "true", "yes"}


def asking(endpoint: Endpoint, body: bytes) -> bytes | None:
    """Return the request that asks for usage too; None: it does already, or is no such stream.

    An application that says `include_usage: false` itself is left alone.
    """
    if endpoint.format != "openai_chat" or endpoint.provider not in _WANT_TO_BE_ASKED:
        return None
    try:
        said = mapping(json.loads(body))
    except ValueError:
        return None
    options = mapping(said.get("stream_options"))
    if said.get("stream") is not True or "include_usage" in options:
        return None
    said["stream_options"] = options | {"include_usage": True}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


class HiddenUsage:
    """Takes the usage event off a stream of server-sent events; all other bytes stay as they are.

    A part of an event is held back until its end has come, at most `MAX_EVENT_BYTES`.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_over = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return those the application may have."""
        held, self._held = self._held + chunk, b""
        if self._is_over:
            return held
        try:
            return self._without_usage(held)
        except Exception as error:  # noqa: BLE001  ours; the application gets all its bytes
            note("hide the usage of a stream", error)
            self._is_over = True
            return held

    def end(self) -> bytes:
        """Return what is held back."""
        held, self._held = self._held, b""
        return held

    def _without_usage(self, held: bytes) -> bytes:
        passed: list[bytes] = []
        start = 0
        for boundary in _END_OF_EVENT.finditer(held):
            event = held[start : boundary.end()]
            start = boundary.end()
            if not _is_usage_alone(event):
                passed.append(event)
        self._held = held[start:]
        if len(self._held) > MAX_EVENT_BYTES:
            passed.append(self.end())
        return b"".join(passed)


def _is_usage_alone(event: bytes) -> bool:
    if _HAS_USAGE.search(event) is None:
        return False
    data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
    said = mapping(json.loads(data))
    return said.get("choices") == [] and bool(said.get("usage"))
