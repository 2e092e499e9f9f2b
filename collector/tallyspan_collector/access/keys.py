"""Keys: who may send calls (ingest), who may see costs (admin), and what applications may show.

A key is 256 random bits with a prefix for its role; its SHA-256 digest is kept in the table
`api_keys` of the store. A collector reads the table every few seconds, so a key that is added or
revoked counts everywhere without a restart. It keeps a copy (digests only) in its data folder, for
a start while the store is away.
"""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.errors import StoreError
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.store_copy import StoreCopy

PREFIXES = {"ingest": "tsi_", "admin": "tsa_", "app": "tsu_", "chat": "tsc_"}
"""Role -> how its keys begin.

ingest sends calls; admin reads costs; app reads the cost of a conversation by its id; chat asks
over MCP for the users of the ingest key with its name, each for the own calls.
"""
READ_SECONDS = 5
COPY = "keys.json"
"""In the data folder: the keys as they were read last."""
MIN_CHARACTERS = 20
"""Of a key of the environment: nothing slows down whoever guesses with a Bearer header."""
ENVIRONMENT = {"TALLYSPAN_ADMIN_KEY": "admin", "TALLYSPAN_INGEST_KEY": "ingest"}
_COLUMNS = ("id", "role", "name", "digest", "department", "tenant", "departments", "rate_limit",
            "expires_s", "revoked_s")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    An admin key sees `departments` only; empty: all. Calls that name no department or tenant get
    `department` and `tenant`. `rate_limit` in requests a second, 0: none. Times in seconds since
    1970, 0: never.
    """

    id: str
    role: str
    name: str
    digest: str = field(repr=False)
    department: str = ""
    tenant: str = ""
    departments: tuple[str, ...] = ()
    rate_limit: int = 0
    expires_s: int = 0
    revoked_s: int = 0

    @property
    def source(self) -> str:
        """The name by which the ledger has the key."""
        return self.name or self.id

    def is_valid(self, now: float) -> bool:
        """Return whether the key may still be used."""
        return not self.revoked_s and not (self.expires_s and self.expires_s <= now)


def digest(token: bytes) -> str:
    """Return the SHA-256 (hex) of a token, which is kept in its place."""
    return hashlib.sha256(token).hexdigest()


def make(role: str, name: str, **more: Any) -> tuple[Key, str]:
    """Return a new key and its token, which is shown once and never kept."""
    token = PREFIXES[role] + secrets.token_urlsafe(32)
    return Key(secrets.token_hex(4), role, name, digest(token.encode()), **more), token


class Keys:
    """The keys of a collector; safe for any thread."""

    def __init__(self, fixed: Iterable[Key] = (), copy: Path | None = None) -> None:
        self._fixed = tuple(fixed)
        self.copy = StoreCopy(copy)
        self._by_digest: dict[str, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self._rate_lock = threading.Lock()
        self._take(())
        if self.copy.is_there:
            self._take(_from_json(self.copy))

    @classmethod
    def of(cls, tokens: Mapping[str, str], role: str = "admin") -> "Keys":
        """Return keys of one role by their names and tokens."""
        return cls(Key(name, role, name, digest(token.encode())) for name, token in tokens.items())

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], copy: Path | None = None) -> "Keys":
        """Return keys with those of TALLYSPAN_ADMIN_KEY and TALLYSPAN_INGEST_KEY.

        Raises `ConfigError` if one can be guessed.
        """
        for variable in ENVIRONMENT:
            if 0 < len(environment.get(variable, "")) < MIN_CHARACTERS:
                raise ConfigError(
                    f"{variable}: a key needs {MIN_CHARACTERS} characters or more, so that nobody "
                    "guesses it; make one with: openssl rand -base64 32"
                )
        keys = [
            Key(variable, role, role, digest(environment[variable].encode()))
            for variable, role in ENVIRONMENT.items()
            if environment.get(variable)
        ]
        return cls(keys, copy)

    def add(self, key: Key) -> None:
        """Add a key for this process only; it is not stored."""
        self._fixed = (*self._fixed, key)
        self._take(key for key in self._by_id.values() if key not in self._fixed)

    def has(self, role: str) -> bool:
        """Return whether any key of the role is valid."""
        now = time.time()
        return any(key.role == role and key.is_valid(now) for key in self._by_id.values())

    def has_had(self, role: str) -> bool:
        """Return whether there is or was a key of the role: revoking the last must open no door."""
        return any(key.role == role for key in self._by_id.values())

    def find(self, token: bytes, role: str) -> Key | None:
        """Return the key of the token if it is valid and of this role, else None."""
        # Looked up by digest, so the time it takes depends on no part of the token.
        key = self._by_digest.get(digest(token))
        if key is None or key.role != role or not key.is_valid(time.time()):
            return None
        return key

    def name_of(self, token: bytes) -> str | None:
        """Return the name of a valid admin key, else None."""
        key = self.find(token, "admin")
        return key.name if key else None

    def find_digest(self, token_digest: str) -> Key | None:
        """Return the admin key with this digest if it is still valid, else None."""
        key = self._by_digest.get(token_digest)
        return key if key and key.role == "admin" and key.is_valid(time.time()) else None

    def source(self, key_id: str) -> Key | None:
        """Return the key with this id, revoked or not."""
        return self._by_id.get(key_id)

    def is_within_rate(self, key: Key) -> bool:
        """Return whether one more request is within the key's rate; a burst may be a second's."""
        if not key.rate_limit:
            return True
        now = time.monotonic()
        with self._rate_lock:
            left, at = self._buckets.get(key.id, (float(key.rate_limit), now))
            left = min(float(key.rate_limit), left + (now - at) * key.rate_limit)
            is_within = left >= 1
            self._buckets[key.id] = (left - 1 if is_within else left, now)
        return is_within

    def read(self, client: Client) -> None:
        """Read the keys of the store. If the store raises, the keys stay as they were."""
        keys = list(stored(client))
        self._take(keys)
        self.copy.keep(json.dumps([asdict(key) for key in keys]))

    def read_or_remember(self, client: Client) -> None:
        """Read the keys of the store; if it is away, use those that were read last.

        Raises `StoreError` if it was never read.
        """
        try:
            self.read(client)
        except StoreError as error:
            if not error.retryable or not self.copy.is_there:
                raise

    def _take(self, keys: Iterable[Key]) -> None:
        all_keys = [*keys, *self._fixed]
        self._by_digest = {key.digest: key for key in all_keys}
        self._by_id = {key.id: key for key in all_keys}


def stored(client: Client) -> Iterable[Key]:
    """Return the keys of the store, the newest first, revoked ones too."""
    rows = client.query(
        f"SELECT {', '.join(_COLUMNS)} FROM api_keys FINAL ORDER BY created_at DESC"  # noqa: S608  own names
    ).result_rows
    for row in rows:
        fields = dict(zip(_COLUMNS, row, strict=True))
        yield Key(**fields | {"departments": tuple(fields["departments"])})


def store(client: Client, key: Key) -> None:
    """Write a new key, or a new state of one that is there."""
    fields = asdict(key) | {"departments": list(key.departments), "version": time.time_ns()}
    client.insert("api_keys", [list(fields.values())], column_names=list(fields))


def revoke(client: Client, key_id: str) -> Key:
    """Revoke the key with this id. Raises `ConfigError` if there is none."""
    key = next((key for key in stored(client) if key.id == key_id), None)
    if key is None:
        raise ConfigError(f"no key has the id {key_id!r}; see them with: tallyspan keys list")
    revoked = Key(**asdict(key) | {"revoked_s": int(time.time())})
    store(client, revoked)
    return revoked


def _from_json(copy: StoreCopy) -> list[Key]:
    try:
        return [
            Key(**each | {"departments": tuple(each["departments"])})
            for each in json.loads(copy.read())
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # only a copy: the store is read next
