"""What can go wrong with the store, for callers to catch."""


class StoreError(Exception):
    """The store refused or failed: one line that says what, where and what to do.

    `retryable` tells whether the same call may succeed later without anybody changing anything.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
