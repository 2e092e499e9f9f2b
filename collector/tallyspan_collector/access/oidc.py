"""Bearer tokens of an OpenID provider, checked with its public keys, and what their groups may see.

The keys are fetched here and not by PyJWT's `PyJWKClient`: that one asks the provider again for
every token with an unknown key id, so strangers could make it a load, and it refuses all tokens as
soon as the provider is away. Here unknown ids cause one fetch in `PATIENCE_SECONDS`, and keys are
used for `STALE_SECONDS` without the provider.
"""

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
"""Public-key signatures only: with HS256 anyone could sign with the public key as the secret."""
FRESH_SECONDS = 600
STALE_SECONDS = 3_600
"""How long keys are used while the provider cannot be reached."""
PATIENCE_SECONDS = 10
"""Least time between two fetches, whatever key ids tokens have."""
LEEWAY_SECONDS = 30
MAX_BYTES = 1 << 20
MAX_TOKEN_BYTES = 16_384
_log = structlog.get_logger()


class OidcUnavailableError(TallyspanError):
    """The provider's keys cannot be fetched, so no token can be checked now."""

    retryable = True


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """Which provider's tokens are accepted, for which audience, and what their groups may see.

    `claim` is the path, with dots, to the list of groups in a token. `access`: group -> the
    departments it sees; none: all. Raises ConfigError.
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
    access: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        group, equals, names = (each.strip() for each in part.rpartition("="))
        departments = tuple(filter(None, (each.strip() for each in names.split(","))))
        if not equals or not group or not departments or group in access:
            raise ValueError("must be like finance=*;sales-leads=Sales,Support")
        access[group] = () if departments == ("*",) else departments
    if not access:
        raise ValueError("must be like finance=*;sales-leads=Sales,Support")
    return access


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
        return json.loads(answer.read(MAX_BYTES))


@dataclass(slots=True)
class _KeySet:
    """The provider's keys by id; when they were fetched, and tried to be (monotonic seconds)."""

    by_id: dict[str, Any] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")


class Oidc:
    """Checks tokens; safe for any thread."""

    def __init__(
        self,
        config: OidcConfig,
        get: Callable[[str], Any] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._get = get
        self._clock = clock
        self._keys = _KeySet()
        self._fetching = threading.Lock()

    def find(self, token: bytes) -> Key | None:
        """Return an admin key with the rights of the token's owner; None if the token is not valid.

        Raises OidcUnavailableError if the provider's keys cannot be fetched.
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
        value: Any = claims
        for name in self._config.claim.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        groups = value.split() if isinstance(value, str) else value
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
            keys, now = self._keys, self._clock()
            is_old = now - keys.fetched_at > FRESH_SECONDS
            if (is_old or key_id not in keys.by_id) and now - keys.tried_at > PATIENCE_SECONDS:
                self._fetch(now)
            if now - self._keys.fetched_at > STALE_SECONDS:
                raise OidcUnavailableError("the identity provider cannot be asked for its keys")
            return self._keys.by_id.get(key_id)

    def _fetch(self, now: float) -> None:
        self._keys.tried_at = now
        try:
            self._keys = _KeySet(self._listed(), now, now)
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
        by_id = {}
        for each in self._get(about["jwks_uri"])["keys"]:
            if each.get("use", "sig") != "sig" or each.get("kty") not in {"RSA", "EC", "OKP"}:
                continue
            with suppress(jwt.PyJWTError, ValueError):  # a kind of key that PyJWT cannot read
                by_id[str(each.get("kid", ""))] = jwt.PyJWK(each).key
        return by_id


def looks_like_token(token: bytes) -> bool:
    """Return whether it may be a signed token, and so none of our keys."""
    return token.startswith(b"eyJ") and token.count(b".") == 2 and len(token) <= MAX_TOKEN_BYTES  # noqa: PLR2004
