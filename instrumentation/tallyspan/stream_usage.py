"""TALLYSPAN_INCLUDE_STREAM_USAGE=1: request the usage of streams, and hide the event that has it.

Some formats have a stream's usage only if the request wants it (`UsageOption`); it comes in an
event of its own. Off by default, for it is the one thing of ours that changes what an application
sends.
"""

import json
import os
import re

from tallyspan.answer import mapping
from tallyspan.formats import PROVIDERS
from tallyspan.guard import note
from tallyspan.recognise import Endpoint
from tallyspan.wire_format import UsageOption

MAX_HELD_BYTES = 1 << 20
VARIABLE = "TALLYSPAN_INCLUDE_STREAM_USAGE"
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")


def is_wanted() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get(VARIABLE, "").lower() in {"1", "true", "yes"}


def request_with_usage(endpoint: Endpoint, body: bytes) -> bytes | None:
    """Return the request that wants usage too; None: it does already, or is no such stream.

    An application that sets the option itself, to true or false, is left alone.
    """
    usage_option = endpoint.format.usage_option
    provider = PROVIDERS.get(endpoint.provider)
    if usage_option is None or provider is None or not provider.has_silent_streams:
        return None
    try:
        content = mapping(json.loads(body))
    except ValueError:
        return None
    group, key = usage_option.option
    options = mapping(content.get(group))
    if content.get(endpoint.format.request.stream) is not True or key in options:
        return None
    content[group] = options | {key: True}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


class HiddenUsage:
    """Takes the usage event off a stream of server-sent events; all other bytes stay as they are.

    A part of an event is held back until its end has come, at most `MAX_HELD_BYTES`.
    """

    def __init__(self, usage_option: UsageOption) -> None:
        self._option = usage_option
        self._has_usage = re.compile(rf'"{re.escape(usage_option.usage)}"\s*:\s*\{{'.encode())
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
            if not self._is_usage_alone(event):
                passed.append(event)
        self._held = held[start:]
        if len(self._held) > MAX_HELD_BYTES:
            passed.append(self.end())
        return b"".join(passed)

    def _is_usage_alone(self, event: bytes) -> bool:
        if self._has_usage.search(event) is None:
            return False
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        content = mapping(json.loads(b"\n".join(lines)))
        return content.get(self._option.empty) == [] and bool(content.get(self._option.usage))
