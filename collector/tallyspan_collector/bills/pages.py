"""Pages of a provider's usage and cost APIs, over HTTPS; a key is sent and never shown."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from tallyspan_collector.errors import BillError, ConfigError

ATTEMPTS = 5
MAX_WAIT_SECONDS = 60.0
TIMEOUT_SECONDS = 60.0
MAX_PAGES = 10_000
ADMIN_KEY = "an organisation's admin key, not one for calls"
_REFUSED = (401, 403)
_NOT_THERE = 404
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
Parameters = Sequence[tuple[str, str]]


class NotThereError(BillError):
    """The API has no such path."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where a provider answers, and how it is told who asks.

    `key_name` says in errors where the key came from, `wanted_key` which one is needed. `sleep` is
    replaced by tests.
    """

    base: str
    headers: Mapping[str, str]
    key_name: str
    wanted_key: str = ADMIN_KEY
    sleep: Callable[[float], object] = time.sleep

    def buckets(self, path: str, parameters: Parameters) -> Iterator[dict[str, Any]]:
        """Yield the time buckets of all pages, each with a list `results`; raises as `items`."""
        for bucket in self.items(path, parameters):
            results = bucket.get("results")
            if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
                raise self._no_page(path, "buckets with results")
            yield bucket

    def items(
        self,
        path: str,
        parameters: Parameters,
        name: str = "data",
        cursor: tuple[str, str] = ("page", "next_page"),
    ) -> Iterator[dict[str, Any]]:
        """Yield what lists called `name` of all pages have; numbers come as `Decimal` or `int`.

        `cursor`: the parameter that asks for a page, and the key of a page that has its value.
        Waits as long as the provider asks for, within bounds. Raises `ConfigError` if the key is
        refused, `BillError` if the answer cannot be had or is no such page.
        """
        check_base(self.base)
        with urllib3.PoolManager(
            timeout=urllib3.Timeout(TIMEOUT_SECONDS), retries=False
        ) as connections:
            page, seen = "", set()
            for _ in range(MAX_PAGES):
                page_parameters = [*parameters, *([(cursor[0], page)] if page else [])]
                answer = self._page(connections, path, page_parameters)
                listed = answer.get(name)
                if not isinstance(listed, list) or not all(isinstance(x, dict) for x in listed):
                    raise self._no_page(path, name)
                yield from listed
                page = answer.get(cursor[1]) or ""
                if not answer.get("has_more"):
                    return
                if not page or page in seen:
                    raise BillError(
                        f"{self._where(path)}: says there is more and does not say where;"
                        " what was read so far is not all of it"
                    )
                seen.add(page)
        raise BillError(f"{self._where(path)}: does not end after {MAX_PAGES:,} pages")

    def _page(
        self, connections: urllib3.PoolManager, path: str, parameters: Parameters
    ) -> dict[str, Any]:
        url = f"{self.base.rstrip('/')}{path}?{urlencode(parameters)}"
        problem = ""
        for attempt in range(ATTEMPTS):
            wait = float(2**attempt)
            try:
                # Not followed: a redirect would carry the key to another host.
                answer = connections.request("GET", url, headers=dict(self.headers), redirect=False)
            except HTTPError as error:
                problem = f"cannot be reached: {_plain(error)}"
            else:
                if answer.status == 200:  # noqa: PLR2004
                    try:
                        return self._object(path, answer.data)
                    except ValueError:
                        problem = f"an answer of {len(answer.data):,} bytes that is no whole JSON"
                else:
                    problem = self._problem(path, answer)
                    wait = _wait_seconds(answer.headers.get("Retry-After"), wait)
            if attempt + 1 < ATTEMPTS:
                self.sleep(wait)
        raise BillError(f"{self._where(path)}: {problem} ({ATTEMPTS} attempts); try again later")

    def _problem(self, path: str, answer: urllib3.BaseHTTPResponse) -> str:
        """Return what a status that may pass says; raise what will not pass."""
        message = _sentence(answer.data)
        if answer.status in _REFUSED:
            raise ConfigError(
                f"{self._where(path)}: {answer.status}, the key of {self.key_name} is refused"
                f"{message}: it needs {self.wanted_key}"
            )
        if answer.status == _NOT_THERE:
            raise NotThereError(f"{self._where(path)}: 404{message}")
        if answer.status not in _AGAIN:
            raise BillError(f"{self._where(path)}: answered {answer.status}{message}")
        return f"answered {answer.status}{message}"

    def _object(self, path: str, body: bytes) -> dict[str, Any]:
        content = json.loads(body, parse_float=Decimal)
        if not isinstance(content, dict):
            raise self._no_page(path, "JSON")
        return content

    def _no_page(self, path: str, of: str) -> BillError:
        return BillError(f"{self._where(path)}: is no page of {of}; is the address right?")

    def _where(self, path: str) -> str:
        return f"{urlsplit(self.base).netloc}{path}"


def check_base(base: str) -> None:
    """Raise `ConfigError` for an address that would send the key in the clear."""
    parts = urlsplit(base)
    is_own = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_own):
        raise ConfigError(
            f"--url {base}: must begin with https://, or the key would be readable on the way"
        )
    if parts.username or parts.query:
        raise ConfigError("--url: give scheme, host and path only")


def _wait_seconds(header: str | None, otherwise: float) -> float:
    try:
        seconds = float(header) if header else otherwise
    except ValueError:  # a date: rare, and our own pause does as well
        seconds = otherwise
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _sentence(body: bytes) -> str:
    """Return the provider's own words, on one line; some errors quote the key: cut from there."""
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({' '.join(str(text).split())[:120].partition('sk-')[0].rstrip(' :')})"


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()).rpartition(": ")[2][:200] or type(error).__name__
