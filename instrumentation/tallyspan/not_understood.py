"""Requests to a provider's own host that no format knows: counted, so that a new API is noticed.

What is written of a request is its method, host and path, where `*` stands for each part that may
be an id or a name: no query, no header, no body. The counts go out as a span of their own, in no
trace of the application: at once for the first request, then with the first one that comes a
minute after the span before, and when the spans are flushed.
"""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from itertools import chain
from urllib.parse import unquote

from opentelemetry.context import Context

from tallyspan import semconv
from tallyspan.formats import FORMATS
from tallyspan.recognise import SOCKET, provider_at, recognise
from tallyspan.sampling import CallTracer

SECONDS_BETWEEN_SPANS = 60.0
MAX_DIFFERENT = 100
"""Requests that are told apart between two spans; the others are counted by host."""
MAX_PARTS = 8
"""Of a path; what follows is `*`."""
SPAN_NAME = "requests not understood"

_WORD = re.compile(r"[a-z][A-Za-z_-]{1,31}|v[0-9]{1,2}(?:(?:alpha|beta)[0-9]{0,2})?")
_FREE = re.compile(
    r"/models(?:/[^/:]+)*/?$"  # lists and descriptions of models
    r"|/files(?:/.*)?$|/uploads(?:/.*)?$"  # files are stored, not generated
    r"|/(?:count_tokens|input_tokens|tokenize|detokenize)/?$|:countTokens$"
    r"|/batch(?:es|/jobs)(?:/[^/]+(?:/cancel)?)?/?$"  # their state
    r"|^/?$"
)
"""Paths of requests that bill nothing."""


def _words() -> frozenset[str]:
    examples = (path.example for each in FORMATS.values() for path in each.paths)
    parts = chain.from_iterable(re.split(r"[/:]", example) for example in examples)
    return frozenset(part for part in parts if _WORD.fullmatch(part)) | {"batches", "results"}


_API_WORDS = _words()
"""Words of the paths that we know: they are no names."""


@lru_cache(maxsize=1024)
def pattern_of(path: str) -> str:
    """Return the path with `*` for every part that may be an id or somebody's name.

    Kept are words that look like an API's and do not stand behind a plural, as names do.
    """
    parts: list[str] = []
    before = ""
    for part in path.strip("/").split("/")[:MAX_PARTS]:
        name, colon, verb = part.partition(":")
        kept = name if _is_of_the_api(name, before) else "*"
        if colon:
            kept += f":{verb}" if _WORD.fullmatch(verb) else ":*"
        parts.append(kept)
        before = name
    if path.strip("/").count("/") >= MAX_PARTS:
        parts.append("*")
    return "/" + "/".join(parts)


def _is_of_the_api(name: str, before: str) -> bool:
    if name in _API_WORDS:
        return True
    return _WORD.fullmatch(name) is not None and not before.endswith("s")


@lru_cache(maxsize=1024)
def is_of_a_provider(host: str) -> bool:
    """Whether a request to the host is counted if no format knows it."""
    return provider_at(host) is not None


class Passing:
    """The sending of a request that is no call, during which a transport below may see it again.

    A task that is started meanwhile keeps the context: then `is_on` is False.
    """

    __slots__ = ("_token", "is_on", "request")

    def __init__(self, method: str, host: str, path: str) -> None:
        self.request = _request(method, host, path)
        self.is_on = True

    def __enter__(self) -> None:
        self._token = _passing.set(self)

    def __exit__(self, *_: object) -> None:
        self.is_on = False
        _passing.reset(self._token)


_passing: ContextVar[Passing | None] = ContextVar("tallyspan-passing", default=None)


def _request(method: str, host: str, path: str) -> tuple[str, str, str]:
    return method.upper(), host.lower(), unquote(path)  # transports differ in what they quote


class Sightings:
    """Counts since the last span; `now` returns seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Forget all: after a fork they are the parent's to tell."""
        self._counts: Counter[str] = Counter()
        self._due = 0.0
        self._tracer: CallTracer | None = None
        # As in `background`: the same thread may come in again.
        self._lock = threading.RLock()

    def note(self, tracer: CallTracer, method: str, host: str, path: str) -> None:
        """Count a request that no format knows, if it goes to a provider's own host."""
        if not is_of_a_provider(host) or _FREE.search(path):
            return
        above = _passing.get()
        if above is not None and above.is_on and above.request == _request(method, host, path):
            return  # a transport above has counted it
        if method == "GET" and recognise(SOCKET, host, None, path) is not None:
            return  # it becomes a WebSocket, whose messages are read
        with self._lock:
            self._tracer = tracer
            request = f"{method} {host}{pattern_of(path)}"
            if request not in self._counts and len(self._counts) >= MAX_DIFFERENT:
                request = f"{method} {host}/*"
            self._counts[request] += 1
            is_due = self._now() >= self._due
        if is_due:
            self.tell()

    def tell(self) -> None:
        """Write a span of what was counted since the last one, if there is anything."""
        with self._lock:
            counts, tracer = self._counts, self._tracer
            if not counts or tracer is None:
                return
            self._counts, self._due = Counter(), self._now() + SECONDS_BETWEEN_SPANS
        lines = [f"{requests} {request}" for request, requests in sorted(counts.items())]
        opened, _ = tracer.start(
            SPAN_NAME, context=Context(), attributes={semconv.NOT_UNDERSTOOD: lines}
        )
        opened.end()


sightings = Sightings()
os.register_at_fork(after_in_child=sightings.reset)
