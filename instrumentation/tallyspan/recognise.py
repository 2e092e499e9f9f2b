"""Which HTTP requests are LLM calls: path first, then host, for gateways keep the one only.

What is matched stands in `formats/` and `providers.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote

from tallyspan.formats import FORMATS, PROVIDERS
from tallyspan.providers import Provider
from tallyspan.wire_format import Format, Path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request's address alone says of it.

    `model` and `is_stream` are empty and None where the address does not say. `is_certain` is
    False for hosts we do not know: then the bodies must look like a call as well. `is_retrieval`:
    it asks for the answer of an earlier call, and counts only if that one had no usage yet.
    `region`: the location in the path (Vertex), which may differ from the host's.
    `response_id`: of what a retrieval asks for, where the path says it; `file_id`: of the file
    whose content it asks for. `is_batch`: the answer says something of a batch.
    """

    format: Format
    provider: str
    operation: str
    endpoint_id: str
    model: str = ""
    is_stream: bool | None = None
    is_certain: bool = True
    is_retrieval: bool = False
    region: str = ""
    response_id: str = ""
    file_id: str = ""
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A user's rule for an endpoint of their own; globs, `port` 0: any.

    Without `format` the path decides by the built-in rules, and only names change.
    """

    host: str
    endpoint_id: str
    port: int = 0
    path: str = "*"
    provider: str = ""
    format: str = ""
    operation: str = "chat"

    def applies(self, host: str, port: int | None, path: str) -> bool:
        """Whether the rule is for such a request."""
        return (
            fnmatchcase(host.lower(), self.host.lower())
            and self.port in {0, port}
            and fnmatchcase(path, self.path)
        )


_PATHS = sorted(
    ((path, each) for each in FORMATS.values() for path in each.paths),
    key=lambda pair: (not pair[0].provider, pair[0].rank),
)
_HOSTS = [
    (pattern, provider) for provider in PROVIDERS.values() for pattern in provider.host_patterns
]
_PORTS = {provider.port: provider for provider in PROVIDERS.values() if provider.port}

SOCKET = "SOCKET"
"""What stands for the method of a request that opens a WebSocket."""

_LOCATION = re.compile(r"/locations/([a-z0-9-]{1,40})/")

own_rules: list[OwnRule] = []
"""Rules of the user's file, which go before the built-in ones."""


def use(rules: Sequence[OwnRule]) -> None:
    """Let the rules of the user's file, in their order, go before the built-in ones."""
    own_rules[:] = rules
    recognise.cache_clear()


def provider_at(host: str) -> Provider | None:
    """Return the provider whose own host it is, or None."""
    return next((provider for pattern, provider in _HOSTS if pattern.search(host)), None)


@lru_cache(maxsize=2048)
def recognise(method: str, host: str, port: int | None, path: str) -> Endpoint | None:
    """Return what the request is, or None if it is no LLM call.

    `method` is `SOCKET` for one that opens a WebSocket.
    """
    if method not in {"POST", "GET", SOCKET}:
        return None
    plain = re.sub(r"//+", "/", unquote(path))
    own = next((rule for rule in own_rules if rule.applies(host, port, plain)), None)
    if method == "POST" and own is not None and own.format:
        wire_format = FORMATS[own.format]
        return Endpoint(
            format=wire_format,
            provider=own.provider or (provider_at(host) or wire_format.provider).name,
            operation=own.operation,
            endpoint_id=own.endpoint_id,
        )
    for each, wire_format in _PATHS:
        match = each.regex.search(plain)
        is_such = each.is_retrieval == (method == "GET") and each.is_socket == (method == SOCKET)
        if match is not None and is_such:
            endpoint = _endpoint(each, wire_format, match, host, port)
            if endpoint is not None:
                location = _LOCATION.search(plain)
                if location is not None:
                    endpoint = replace(endpoint, region=location[1])
                return endpoint if own is None else _renamed(endpoint, own)
    return None


def _endpoint(
    path: Path, wire_format: Format, match: re.Match[str], host: str, port: int | None
) -> Endpoint | None:
    owner = _PORTS.get(port or 0)
    is_own_host = False
    if owner is None:
        owner = provider_at(host)
        is_own_host = owner is not None
    name = owner.service(match.string) if owner is not None else ""
    if path.provider and name != path.provider:
        return None
    groups = match.groupdict()
    return Endpoint(
        format=wire_format,
        provider=name or path.assumed or wire_format.provider.name,
        operation=path.operation,
        endpoint_id=host if is_own_host or not port else f"{host}:{port}",
        model=groups.get("model") or "",
        is_stream=bool(groups["stream"]) if "stream" in groups else None,
        is_certain=owner is not None,
        is_retrieval=path.is_retrieval,
        response_id=groups.get("id") or "",
        file_id=groups.get("file") or "",
        is_batch=path.is_batch,
    )


def _renamed(endpoint: Endpoint, own: OwnRule) -> Endpoint:
    return replace(
        endpoint,
        provider=own.provider or endpoint.provider,
        endpoint_id=own.endpoint_id,
        is_certain=True,
    )
