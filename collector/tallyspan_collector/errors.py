"""What can go wrong, each error one sentence: what, where, what to do.

TallyspanError
├── ConfigError             a setting, a file or a flag; refused at the start
├── PriceError              prices that cannot be used
├── BillError               what a provider says it billed cannot be had; try again
├── DecodeError             bytes that are no OTLP: INVALID_ARGUMENT, 400
├── OverloadedError         too much is waiting: RESOURCE_EXHAUSTED, 503; try again
├── SpoolError              the disk does not take what arrives: UNAVAILABLE, 503; try again
└── StoreUnavailableError   the store did not take a batch; it is kept and tried again
"""


class TallyspanError(Exception):
    """Anything of ours that has a sentence for its reader; `retryable`: trying again may help."""

    retryable = False


class ConfigError(TallyspanError):
    """A setting, file or flag that cannot be used; names it and says what was expected."""


class PriceError(TallyspanError):
    """Prices that cannot be used."""


class BillError(TallyspanError):
    """What a provider says it billed cannot be had, or is not what its documentation says."""

    retryable = True


class DecodeError(TallyspanError):
    """Bytes that are no OTLP request; sending them again does not help."""


class OverloadedError(TallyspanError):
    """More is waiting than may wait."""

    retryable = True


class SpoolError(TallyspanError):
    """The spool cannot be read or written; nothing of the request is acknowledged."""

    retryable = True


class StoreUnavailableError(TallyspanError):
    """The store did not take a batch; it stays in the spool."""

    retryable = True
