"""Bearer tokens of an OpenID provider: who it says the reader is, and what that lets him see."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog

from tallyspan_collector.access.keys import Key
from tallyspan_collector.errors import ConfigError, TallyspanError

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures with a public key. None of HS256: a public key must not serve as its secret."""
FRESH_SECONDS = 600
STALE_SECONDS = 3_600
"""While the provider cannot be reached its keys are used for this long."""
PATIENCE_SECONDS = 10
"""Between two fetches for an unknown key: tokens of strangers must not be the provider's load."""
LEEWAY_SECONDS = 30
MOST_BYTES = 1 << 20
MOST_TOKEN_BYTES = 16_384
_log = structlog.get_logger()


class OidcUnavailableError(TallyspanError):
    """The provider's keys cannot be had, so no token can be checked now."""

    retryable = True


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """Whose tokens are taken, for whom they must be, and who may see what.

    `claim` is where a token lists groups, dots lead into it; `access`: group -> departments it
    sees, none: all. Raises ConfigError.
    """

    issuer: str
    audience: str
    claim: str
    access: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.audience or not self.access:
            raise ConfigError(
                "--oidc-issuer needs --oidc-audience, and --oidc-access to say who may see what"
            )
        check_url(self.issuer, "--oidc-issuer")
        if find_spec("jwt") is None or find_spec("cryptography") is None:
            raise ConfigError("--oidc-issuer needs a package more: pip install 'tallyspan[oidc]'")


def parse_access(text: str) -> dict[str, tuple[str, ...]]:
    """Return group -> departments of `finance=*;sales-leads=Sales,Support`. Raises ValueError."""
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        group, equals, seen = (each.strip() for each in part.rpartition("="))
        departments = tuple(filter(None, (each.strip() for each in seen.split(","))))
        if not equals or not group or not departments or group in found:
            raise ValueError("must be like finance=*;sales-leads=Sales,Support")
        found[group] = () if departments == ("*",) else departments
    if not found:
        raise ValueError("must be like finance=*;sales-leads=Sales,Support")
    return found


def check_url(url: str, flag: str) -> None:
    """Raise ConfigError unless the URL is https, or http on this machine."""
    parts = urlsplit(url)
    try:
        is_local = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_local = False
    if not parts.hostname or (
        parts.scheme != "https" and not (parts.scheme == "http" and is_local)
    ):
        raise ConfigError(f"{flag} {url}: must be an https:// URL")


def fetch(url: str) -> Any:
    """Return the JSON at the URL. Raises OSError or ValueError."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  checked by check_url
        return json.loads(answer.read(MOST_BYTES))


@dataclass(slots=True)
class _Known:
    """The provider's keys by id, and when they were fetched (monotonic seconds)."""

    by_id: dict[str, Any] = field(default_factory=dict)
    fetched: float = float("-inf")
    tried: float = float("-inf")


class Oidc:
    """Checks tokens; any thread may ask."""

    def __init__(
        self,
        config: OidcConfig,
        get: Callable[[str], Any] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._get = get
        self._clock = clock
        self._known = _Known()
        self._fetching = threading.Lock()

    def find(self, token: bytes) -> Key | None:
        """Return what the token's owner may see, as an admin key; None if it is no good.

        Raises OidcUnavailableError if the provider's keys cannot be had.
        """
        import jwt

        try:
            text = token.decode("ascii")
            header = jwt.get_unverified_header(text)
            algorithm, key_id = header.get("alg"), header.get("kid", "")
            if algorithm not in ALGORITHMS or not isinstance(key_id, str):
                return None
            key = self._key(key_id)
            if key is None:
                return None
            claims = jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, UnicodeDecodeError, ValueError, TypeError) as error:
            _log.info("oidc.refused", reason=type(error).__name__)
            return None
        return self._reader(claims)

    def _reader(self, claims: Mapping[str, Any]) -> Key | None:
        found: Any = claims
        for name in self._config.claim.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        groups = found.split() if isinstance(found, str) else found
        if not isinstance(groups, list):
            return None
        seen = [
            self._config.access[g]
            for g in groups
            if isinstance(g, str) and g in self._config.access
        ]
        if not seen:
            _log.info("oidc.refused", reason="no group that may see costs")
            return None
        departments = () if () in seen else tuple(dict.fromkeys(d for each in seen for d in each))
        subject = str(claims["sub"])[:200]
        name = next(
            (
                str(claims[n])[:200]
                for n in ("preferred_username", "email", "name")
                if claims.get(n)
            ),
            subject,
        )
        return Key(f"oidc:{subject}", "admin", name, "", departments=departments)

    def _key(self, key_id: str) -> Any:
        with self._fetching:
            known, now = self._known, self._clock()
            is_old = now - known.fetched > FRESH_SECONDS
            if (is_old or key_id not in known.by_id) and now - known.tried > PATIENCE_SECONDS:
                self._fetch(now)
            if now - self._known.fetched > STALE_SECONDS:
                raise OidcUnavailableError("the identity provider cannot be asked for its keys")
            return self._known.by_id.get(key_id)

    def _fetch(self, now: float) -> None:
        self._known.tried = now
        try:
            self._known = _Known(self._listed(), now, now)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            issuer = self._config.issuer
            _log.warning("oidc.keys_not_fetched", issuer=issuer, error=str(error)[:300])

    def _listed(self) -> dict[str, Any]:
        import jwt

        issuer = self._config.issuer
        about = self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about["issuer"] != issuer:
            raise ValueError(f"it calls itself {about['issuer']!r}")
        check_url(about["jwks_uri"], "jwks_uri")
        found = {}
        for each in self._get(about["jwks_uri"])["keys"]:
            if each.get("use", "sig") != "sig" or each.get("kty") not in {"RSA", "EC", "OKP"}:
                continue
            with suppress(jwt.PyJWTError, ValueError):  # of a kind nobody here can check
                found[str(each.get("kid", ""))] = jwt.PyJWK(each).key
        return found


def looks_like_token(token: bytes) -> bool:
    """Return whether it may be a signed token, and so none of our keys."""
    return token.startswith(b"eyJ") and token.count(b".") == 2 and len(token) <= MOST_TOKEN_BYTES  # noqa: PLR2004
