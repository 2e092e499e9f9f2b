"""How many files and connections the process may have open."""

import resource

import structlog

FEW = 16_384
_ENOUGH = 1 << 20
_OURS = 256
"""Descriptors for the store, spool, journal and log."""
_LISTENERS = 3
_log = structlog.get_logger()


def raise_limit() -> None:
    """Raise the limit of open files as far as the system lets us; warn if that is not far."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft != resource.RLIM_INFINITY and soft < FEW:
        _log.warning(
            "files.few", limit=soft, connections=_of(soft), action=f"set LimitNOFILE={FEW} or more"
        )


def max_connections(at_most: int) -> int:
    """Return how many connections each listener may have, `at_most` if there are files for them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return at_most if soft == resource.RLIM_INFINITY else min(at_most, _of(soft))


def _of(limit: int) -> int:
    return max(16, (limit - _OURS) // _LISTENERS)
