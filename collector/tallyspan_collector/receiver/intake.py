"""The steps of both receivers: authenticate the sender, check the request, put it on disk."""

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tallyspan_collector.access.keys import Key, Keys
from tallyspan_collector.errors import OverloadedError, SpoolError, TallyspanError
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.read.envelope import Search, has_any
from tallyspan_collector.receiver.budget import Budget
from tallyspan_collector.receiver.signals import Signal

MAX_MESSAGE_BYTES = 64 << 20
RETRY_SECONDS = 2
LARGE_BYTES, LARGE_PACKED_BYTES = 16 << 20, 128 << 10
"""Bodies above it, plain and packed, wait for one another, not with smaller ones."""
HOW = "send an ingest key as 'Authorization: Bearer <key>' or as the password of Basic"


class NoKeyError(TallyspanError):
    """The request has no valid ingest key."""


class TooOftenError(OverloadedError):
    """The key makes more requests than it may."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many spans or log records were rejected, and why: OTLP's partial success."""

    items: int
    reason: str


class Intake:
    """Puts requests into the spool; without a spool each is refused with `refusal`.

    No key is needed if `is_local` and there never was an ingest key. `search` finds the parts of a
    request that may be calls.
    """

    def __init__(
        self,
        spool: Spool | None,
        refusal: str,
        keys: Keys,
        metrics: Metrics,
        *,
        is_local: bool,
        search: Search = has_any,
    ) -> None:
        self._spool = spool
        self._refusal = refusal
        self._keys = keys
        self._metrics = metrics
        self._is_local = is_local
        self._search = search
        self.budget = Budget()
        self._threads = ThreadPoolExecutor(4, "admit")
        self._threads_of_large = ThreadPoolExecutor(2, "admit-large")

    def close(self) -> None:
        """End the threads, after the requests that they work at."""
        self._threads.shutdown()
        self._threads_of_large.shutdown()

    def authenticate(self, authorization: str) -> Key | None:
        """Return the key of an Authorization header, None if none is needed.

        Raises `NoKeyError` and `TooOftenError`.
        """
        key = self._keys.find(_token(authorization), "ingest")
        if key is None:
            if self._is_local and not self._keys.has_had("ingest"):
                return None
            raise NoKeyError(HOW if not authorization else f"the key is not valid: {HOW}")
        if not self._keys.is_within_rate(key):
            raise TooOftenError(f"key {key.name!r} makes more than {key.rate_limit} requests/s")
        return key

    async def take(
        self,
        body: bytes,
        key: Key | None,
        signal: Signal,
        unpack: Callable[[bytes], bytes] | None = None,
        max_loop_bytes: int | None = None,
    ) -> Rejected | None:
        """Return when all that can become a call is on disk; the result is what was rejected.

        `unpack` returns the OTLP protobuf request of a body. A body above `max_loop_bytes`, that of
        the signal if it is None, is unpacked and checked in a thread. Raises what `unpack` raises,
        `DecodeError`, `OverloadedError`, `SpoolError`.
        """
        if max_loop_bytes is None:
            max_loop_bytes = signal.max_loop_bytes
        if len(body) <= max_loop_bytes:
            admitted = signal.admit(unpack(body) if unpack else body, self._search)
        else:
            is_large = len(body) > (LARGE_PACKED_BYTES if unpack else LARGE_BYTES)
            admitted = await asyncio.get_running_loop().run_in_executor(
                self._threads_of_large if is_large else self._threads,
                lambda: signal.admit(unpack(body) if unpack else body, self._search),
            )
        if self._spool is None:
            raise SpoolError(self._refusal)
        if admitted.blob:
            try:
                source = key.id if key else ""
                await self._spool.put(source, admitted.blob, signal.name, admitted.spans)
            except asyncio.CancelledError:  # the sender disconnected; the request is kept
                self._metrics.received(admitted.spans)
                raise
        self._metrics.received(admitted.spans)
        if not admitted.untimed:
            return None
        self._metrics.dropped(Dropped.UNTIMED, admitted.untimed)
        return Rejected(admitted.untimed, "what says no time at all cannot be booked")


def _token(authorization: str) -> bytes:
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).partition(b":")[2]
        except ValueError:  # not base64, or not even ASCII
            return b""
    return b""
