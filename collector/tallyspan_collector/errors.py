"""The errors of the collector; each is one sentence: what, where, what to do.

TallyspanError
├── ConfigError             a setting, a file or a flag; refused at the start
├── PriceError              prices that cannot be used
├── BillError               a provider's bill cannot be fetched or read; try again
├── DecodeError             bytes that are no OTLP: INVALID_ARGUMENT, 400
├── OverloadedError         too much is waiting: RESOURCE_EXHAUSTED, 503; try again
├── SpoolError              the disk does not take requests: UNAVAILABLE, 503; try again
└── StoreUnavailableError   the store did not take a batch; it is kept and tried again
"""


class TallyspanError(Exception):
    """An error with a sentence for its reader; `retryable`: trying again may help."""

    retryable = False


class ConfigError(TallyspanError):
    """A setting, file or flag that cannot be used; names it and what was expected."""


class PriceError(TallyspanError):
    """Prices that cannot be used."""


class BillError(TallyspanError):
    """A provider's bill cannot be fetched, or is not as its documentation says."""

    retryable = True


class DecodeError(TallyspanError):
    """Bytes that are no OTLP request; sending them again does not help."""


class OverloadedError(TallyspanError):
    """More requests are waiting than allowed."""

    retryable = True


class SpoolError(TallyspanError):
    """The spool cannot be read or written; nothing of the request is acknowledged."""

    retryable = True


class StoreUnavailableError(TallyspanError):
    """The store did not take a batch; it stays in the spool."""

    retryable = True
