"""One bound for the memory of all bodies: being received, unpacked, and not yet on disk."""

import threading
from typing import Self

from tallyspan_collector.errors import OverloadedError

MAX_BYTES = 256 << 20
SMALL_BYTES = 1 << 20
"""Bytes of a body that may be of the last quarter of the budget, which large bodies cannot use:
senders of some large bodies that never end do not keep the others out.
"""


class Budget:
    """The bytes in use, of at most `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of all bodies there are."""
        return self._used_bytes

    def body(self) -> "BodySize":
        """Return the count of a body; what it takes is free again at the end of its block."""
        return BodySize(self)

    def free(self, count: int) -> None:
        """Give so many bytes back."""
        with self._lock:
            self._used_bytes -= count

    def take(self, count: int, *, is_large: bool) -> None:
        """Use so many bytes more. Raises `OverloadedError` if there are not as many."""
        max_bytes = self._max_bytes - self._max_bytes // 4 if is_large else self._max_bytes
        with self._lock:
            if self._used_bytes + count > max_bytes:
                raise OverloadedError(
                    f"{self._used_bytes} bytes of requests are being received or wait for the disk"
                )
            self._used_bytes += count


class BodySize:
    """What one body uses of the budget: the bytes received, and those they were unpacked to."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.free(self.bytes)

    def add(self, count: int) -> None:
        """Use so many bytes more. Raises `OverloadedError` if there are not as many."""
        self._budget.take(count, is_large=self.bytes + count > SMALL_BYTES)
        self.bytes += count
