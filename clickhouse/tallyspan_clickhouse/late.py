"""A client for a store that may be away when the program starts."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, cast

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from tallyspan_clickhouse.errors import StoreError

AGAIN_SECONDS = 1.0
"""A store that was away is not asked again sooner: each try may take its whole timeout."""


class StoreAwayError(StoreError, OperationalError):
    """The store is still away: to those who ask the client it is as if it had just gone."""


def late(open_client: Callable[[], Client]) -> Client:
    """Return a client that is opened when it is first used, and tried again until it can be.

    Until then whatever is asked of it raises `StoreAwayError`. Several threads may use it at once.
    """
    return cast("Client", _Late(open_client))


class _Late:
    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._client: Client | None = None
        self._opening = threading.Lock()
        self._error: StoreAwayError | None = None
        self._not_before = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client or self._opened(), name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            with suppress(Exception):  # nothing is done with it any more
                self._client.close()

    def _opened(self) -> Client:
        with self._opening:
            if self._client is None:
                if self._error is not None and time.monotonic() < self._not_before:
                    raise StoreAwayError(str(self._error), retryable=self._error.retryable)
                try:
                    self._client = self._open_client()
                except StoreError as error:
                    self._error = StoreAwayError(str(error), retryable=error.retryable)
                    self._not_before = time.monotonic() + AGAIN_SECONDS
                    raise self._error from None
            return self._client
