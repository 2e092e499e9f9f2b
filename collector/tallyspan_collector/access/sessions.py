"""Sessions of the console: a random token in the browser's cookie, its digest here."""

import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "tallyspan_session"
LASTS_SECONDS = 12 * 3600
MAX_SESSIONS = 1_000
# Wrong keys a minute, of all clients together. Keys are too long to guess; it keeps logs short.
MAX_WRONG_KEYS = 20


@dataclass(frozen=True, slots=True)
class Session:
    """A login by the admin key with this SHA-256 (hex); `ends` on the monotonic clock."""

    key_digest: str
    ends: float


class Sessions:
    """Open sessions, in memory only: a restart of the collector ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[bytes, Session] = {}
        self._wrong: deque[float] = deque(maxlen=MAX_WRONG_KEYS)

    def open(self, key: bytes) -> str:
        """Begin a session of the key; return the token for the cookie."""
        now = self._clock()
        self._open = {digest: each for digest, each in self._open.items() if each.ends > now}
        while len(self._open) >= MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(key).hexdigest()
        self._open[_digest(token)] = Session(digest, now + LASTS_SECONDS)
        return token

    def of(self, token: str) -> Session | None:
        """Return the session of the token, None if there is none or it has ended."""
        session = self._open.get(_digest(token))
        return session if session is not None and session.ends > self._clock() else None

    def close(self, token: str) -> None:
        """End the session of the token."""
        self._open.pop(_digest(token), None)

    def note_wrong_key(self) -> None:
        """Count a login that failed."""
        self._wrong.append(self._clock())

    def must_wait(self) -> bool:
        """Return whether there were too many wrong keys in the last minute."""
        return len(self._wrong) == MAX_WRONG_KEYS and self._wrong[0] > self._clock() - 60


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
