"""Tokens of an OpenID provider: whose are taken, and what they let see."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from identity_provider import AUDIENCE, Provider, identity_provider
from tallyspan_collector.access.oidc import (
    FRESH_SECONDS,
    PATIENCE_SECONDS,
    STALE_SECONDS,
    Oidc,
    OidcConfig,
    OidcUnavailableError,
    fetch,
    parse_access,
)
from tallyspan_collector.config import OPTIONS, Config
from tallyspan_collector.errors import ConfigError

ACCESS = {"finance": (), "sales-leads": ("Sales", "Support"), "helpdesk": ("Support",)}


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    with identity_provider() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def oidc(provider: Provider, clock: Clock) -> Oidc:
    return checker(provider, clock)


def checker(provider: Provider, clock: Clock, claim: str = "groups") -> Oidc:
    return Oidc(OidcConfig(provider.issuer, AUDIENCE, claim, ACCESS), fetch, clock)


@pytest.mark.parametrize("key_id", ["rsa", "ec"])
def test_a_token_the_provider_signed_lets_its_owner_in_by_name(
    provider: Provider, oidc: Oidc, key_id: str
) -> None:
    found = oidc.find(provider.token(key_id).encode())

    assert found is not None
    assert (found.id, found.name, found.role, found.departments) == ("oidc:u-1", "ada", "admin", ())


@pytest.mark.parametrize(
    ("groups", "departments"),
    [
        (["finance", "helpdesk"], ()),
        (["helpdesk"], ("Support",)),
        (["helpdesk", "sales-leads"], ("Support", "Sales")),
        ("helpdesk", ("Support",)),
    ],
)
def test_groups_add_up_to_the_departments_that_are_seen(
    provider: Provider, oidc: Oidc, groups: Any, departments: tuple[str, ...]
) -> None:
    found = oidc.find(provider.token(groups=groups).encode())

    assert found is not None
    assert found.departments == departments


def test_groups_may_lie_deeper_in_the_token(provider: Provider, clock: Clock) -> None:
    nested = checker(provider, clock, "realm_access.roles")
    token = provider.token(groups=None, realm_access={"roles": ["finance"]})

    assert nested.find(token.encode()) is not None
    assert nested.find(provider.token().encode()) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 946_684_800},
        {"exp": None},
        {"nbf": 4_102_444_800},
        {"aud": "another-service"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"sub": None},
        {"groups": []},
        {"groups": None},
        {"groups": ["everyone"]},
        {"groups": {"finance": True}},
        {"groups": [["finance"], 7]},
    ],
    ids=str,
)
def test_a_token_that_does_not_say_what_it_must_is_refused(
    provider: Provider, oidc: Oidc, claims: dict[str, Any]
) -> None:
    assert oidc.find(provider.token(**claims).encode()) is None


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> bytes:
    parts = (base64.urlsafe_b64encode(json.dumps(each).encode()) for each in (header, claims))
    return b".".join(each.rstrip(b"=") for each in parts) + b"." + signature.encode()


def test_a_token_without_a_signature_is_refused(provider: Provider, oidc: Oidc) -> None:
    for name in ("none", "None", "NONE", "", None, 7):
        assert oidc.find(unsigned({"alg": name, "kid": "rsa"}, provider.claims())) is None


def test_the_public_key_does_not_serve_as_a_secret(provider: Provider, oidc: Oidc) -> None:
    import hashlib
    import hmac

    private, _ = provider.keys["rsa"]
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = unsigned({"alg": "HS256", "kid": "rsa"}, provider.claims()).rstrip(b".")
    seal = hmac.new(public, text, hashlib.sha256).digest()
    forged = text + b"." + base64.urlsafe_b64encode(seal).rstrip(b"=")

    assert oidc.find(forged) is None


def test_a_stranger_who_uses_a_known_key_id_or_an_algorithm_of_another_key_is_refused(
    provider: Provider, oidc: Oidc
) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    forged = jwt.encode(provider.claims(), stranger, "RS256", headers={"kid": "rsa"})
    mixed = jwt.encode(provider.claims(), stranger, "RS256", headers={"kid": "ec"})

    assert oidc.find(forged.encode()) is None
    assert oidc.find(mixed.encode()) is None


@pytest.mark.parametrize(
    "token", [b"", b"eyJ", b"eyJ.e.e", b"\xff.\xfe.\xfd", b"eyJ9.e30.AA", b"..."]
)
def test_what_is_no_token_is_refused(oidc: Oidc, token: bytes) -> None:
    assert oidc.find(token) is None


def test_keys_are_fetched_once_and_again_when_they_are_old(
    provider: Provider, oidc: Oidc, clock: Clock
) -> None:
    token = provider.token().encode()
    for _ in range(5):
        assert oidc.find(token)
    after_the_first = provider.request_count
    clock.now += FRESH_SECONDS + 1
    assert oidc.find(token)

    assert (after_the_first, provider.request_count) == (2, 4)


def test_a_new_key_is_found_and_unknown_ones_are_no_load_for_the_provider(
    provider: Provider, oidc: Oidc, clock: Clock
) -> None:
    assert oidc.find(provider.token().encode())
    provider.add("next", rsa.generate_private_key(65537, 2048), "RS256")
    early = oidc.find(provider.token("next").encode())
    clock.now += PATIENCE_SECONDS + 1
    later = oidc.find(provider.token("next").encode())
    for _ in range(20):
        assert oidc.find(unsigned({"alg": "RS256", "kid": "nobody"}, provider.claims())) is None

    assert early is None
    assert later is not None
    assert provider.request_count == 4


def test_a_key_that_the_provider_withdraws_counts_no_more(
    provider: Provider, oidc: Oidc, clock: Clock
) -> None:
    token = provider.token().encode()
    assert oidc.find(token)
    provider.listed.clear()
    clock.now += FRESH_SECONDS + 1

    assert oidc.find(token) is None


def test_while_the_provider_is_away_its_keys_are_used_for_an_hour(
    provider: Provider, oidc: Oidc, clock: Clock
) -> None:
    token = provider.token().encode()
    assert oidc.find(token)
    provider.is_down = True
    clock.now += STALE_SECONDS - 1
    assert oidc.find(token)
    clock.now += PATIENCE_SECONDS + 2

    with pytest.raises(OidcUnavailableError):
        oidc.find(token)


def test_access_is_read_and_refused() -> None:
    read = {"finance": (), "sales-leads": ("Sales", "Support")}
    assert parse_access("finance=*; sales-leads=Sales, Support") == read
    assert parse_access("cn=admins,ou=x=*") == {"cn=admins,ou=x": ()}
    for text in ("", "finance", "=*", "finance=", "a=*;a=Sales"):
        with pytest.raises(ValueError, match="must be like"):
            parse_access(text)


@pytest.mark.parametrize(
    ("issuer", "audience", "access", "says"),
    [
        ("http://login.example", "a", ACCESS, "must be an https:// URL"),
        ("file:///etc/passwd", "a", ACCESS, "must be an https:// URL"),
        ("https://login.example", "", ACCESS, "needs --oidc-audience"),
        ("https://login.example", "a", {}, "needs --oidc-audience, and --oidc-access"),
    ],
)
def test_settings_that_would_let_in_anyone_are_refused(
    issuer: str, audience: str, access: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        OidcConfig(issuer, audience, "groups", access)


def test_without_an_issuer_no_tokens_are_taken() -> None:
    defaults = {option.name: option.parse(option.default) for option in OPTIONS if option.default}

    assert Config(**defaults).oidc() is None
