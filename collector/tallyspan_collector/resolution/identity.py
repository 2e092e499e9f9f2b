"""Whose a report is, and the numbers by which spans, traces and meeting places are found again.

A report belongs to the tenant and to the ingest key it came with. Both are in the number of a span:
what one key sends is never a duplicate of what another sent. The tenant is in the number of a trace
and of a place where calls meet (`meeting.py`): reports of different tenants never meet.

A number has 63 bits: the remainder of the id by a prime that only this file knows. Who knows ids
cannot make others with the same number then; that two spans of a day share one by chance is one in
10^7 at a million calls a day.
"""

import secrets
import sqlite3
import time
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallyspan_collector.access.keys import Key
from tallyspan_collector.columns.identities import Numbers, Remainders, numbers_of
from tallyspan_collector.read.call import Call

FIRST_PRIME = 0x6A09E667F3BCC91D
"""Between 2^62 and 2^63. Files of earlier versions have it, and keep it: they have its numbers."""
NO_PARENT = -1
"""Instead of the number of a parent, where there is none."""
_ID_BITS = 192
"""Of a trace id and a span id."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity
    (one INTEGER PRIMARY KEY, prime INTEGER NOT NULL, older_until_s INTEGER NOT NULL)
"""
_OLDER_SECONDS = 2 * 86_400
"""So long after its first opening by this version a file may have numbers without tenant and key:
spans are remembered for a day at least, two at most."""
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""With these bases the test of `_is_prime` is exact up to 3.3 * 10^24."""


class Owner(NamedTuple):
    """Whose a report is: the tenant of its ingest key, and the key's name; empty: without keys.

    Keys with one name and tenant are one owner, so a key can be replaced while calls are reported.
    """

    tenant: str
    source: str

    @classmethod
    def of(cls, key: Key | None) -> "Owner":
        """Return whose the reports are that come with a key, or without one."""
        return NOBODY if key is None else cls(key.tenant, key.source)


def owner_of(call: Call) -> Owner:
    """Return whose the call is.

    A tenant that only a span names does not count: without keys everything has one owner.
    """
    return Owner(call.tenant, call.source) if call.source else NOBODY


NOBODY = Owner("", "")
"""Of calls that came without a key."""
SpanKey = tuple[Owner, str, str]
"""A span: whose report it is, its trace id and its span id."""


def span_key(call: Call) -> SpanKey:
    """Return by what the call's span is kept in its trace."""
    return owner_of(call), call.trace_id, call.span_id


def number_of(text: str, of: str = "") -> int:
    """Return a 63-bit hash of a text, the same in every process; `of`: the tenant, say, it is of.

    No text of one has the number of a text of another.
    """
    digest = blake2b(text.encode(), digest_size=8, key=_key_of(of) if of else b"")
    return int.from_bytes(digest.digest()) >> 1


@lru_cache(maxsize=10_000)
def _key_of(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=32).digest()


class Identities:
    """The numbers of one file; `prime` is between 2^62 and 2^63."""

    def __init__(self, prime: int = FIRST_PRIME, older_until_s: int = 0) -> None:
        self.prime = prime
        self._older_until_s = older_until_s
        self._shifts: dict[tuple[str, str], int] = {}

    @classmethod
    def of(cls, file: sqlite3.Connection) -> "Identities":
        """Return those of a file; a new file gets a prime of its own, one with traces the first."""
        file.execute(_SCHEMA)
        (is_used,) = file.execute(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name IN ('seen_turn', 'trace_turn'))"
        ).fetchone()
        until = int(time.time()) + _OLDER_SECONDS if is_used else 0
        prime = FIRST_PRIME if is_used else _random_prime()
        file.execute("INSERT OR IGNORE INTO identity VALUES (1, ?, ?)", (prime, until))
        return cls.read(file)

    @classmethod
    def read(cls, file: sqlite3.Connection) -> "Identities":
        """Return those of a file without changing it."""
        (is_there,) = file.execute(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity')"
        ).fetchone()
        if not is_there:  # of an earlier version
            return cls(older_until_s=int(time.time()) + _OLDER_SECONDS)
        return cls(*file.execute("SELECT prime, older_until_s FROM identity").fetchone())

    @property
    def may_be_older(self) -> bool:
        """Whether the file may have numbers of an earlier version, without tenant and key.

        They are those of `NOBODY`.
        """
        return time.time() < self._older_until_s

    def span(self, owner: Owner, trace_id: str, span_id: str) -> int:
        """Return the number of a span; both ids are hex."""
        return (int(trace_id + span_id, 16) + self.shift(*owner)) % self.prime

    def trace(self, tenant: str, trace_id: str) -> int:
        """Return the number of a trace; its id is hex."""
        return (int(trace_id, 16) + self.shift(tenant)) % self.prime

    def rows(
        self,
        ids: NDArray[np.uint8],
        owners: Sequence[Owner],
        request: NDArray[np.int32],
        remainders: Remainders,
    ) -> Numbers:
        """Return the numbers of rows (`Table.ids`), of which `owners` are by number of request."""
        of_traces = [self.shift(owner.tenant) for owner in owners]
        of_spans = [self.shift(*owner) for owner in owners]
        return numbers_of(ids, request, self.prime, of_traces, of_spans, remainders)

    def shift(self, tenant: str, source: str = "") -> int:
        """Return what is added to an id, as a number, before the remainder; 0 without keys."""
        shift = self._shifts.get((tenant, source))
        if shift is None:
            name = f"{len(tenant)} {tenant} {source}" if tenant or source else ""
            shift = (number_of(name) << _ID_BITS) % self.prime if name else 0
            self._shifts[tenant, source] = shift
        return shift


def _random_prime() -> int:
    while True:
        number = (1 << 62) | secrets.randbits(62) | 1
        if _is_prime(number):
            return number


def _is_prime(number: int) -> bool:
    """Return whether an odd number above 37 is a prime, by the test of Miller and Rabin."""
    odd = number - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    for base in _WITNESSES:
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
