"""Answers of a store are believed only with ClickHouse's own proof; an empty one proves nothing.

What stands in front of a server (a balancer, a login page) may answer 200 in its place. So each
answer must carry the id of its query, which only a server that has read the query can send back.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import check_env_proxy, get_pool_manager_options
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager
from urllib3.exceptions import HTTPError

from tallyspan_clickhouse.errors import StoreError

QUERY_ID = "X-ClickHouse-Query-Id"
SUCCESSES = range(200, 300)


class NoProofError(HTTPError):
    """What answered is not the ClickHouse that was asked."""


def pool(scheme: str, host: str, port: int) -> PoolManager:
    """Return the connections to stores, through the proxy of the environment if there is one."""
    return _pool(check_env_proxy(scheme, host, port))


@cache
def _pool(proxy: str | None) -> PoolManager:
    options = get_pool_manager_options()
    return _ProxyPool(proxy, **options) if proxy else _Pool(**options)


class _Pool(PoolManager):
    def request(self, method: str, url: str, *args: Any, **options: Any) -> BaseHTTPResponse:
        return _proved(url, super().request(method, url, *args, **options))


class _ProxyPool(ProxyManager):
    def request(self, method: str, url: str, *args: Any, **options: Any) -> BaseHTTPResponse:
        return _proved(url, super().request(method, url, *args, **options))


def _proved(url: str, response: BaseHTTPResponse) -> BaseHTTPResponse:
    """Return the response; raises `NoProofError` if it is a success of something else."""
    wanted = parse_qs(urlsplit(url).query).get("query_id", [""])[0]
    if wanted and response.status in SUCCESSES and response.headers.get(QUERY_ID) != wanted:
        response.close()
        raise NoProofError(
            f"the answer {response.status} is not ClickHouse's: it lacks the header {QUERY_ID} of"
            " the query. Look at what stands in front of the store"
        )
    return response


def one_number(
    client: Client,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    use_database: bool = True,
) -> int:
    """Return the one number that a query answers. Raises StoreError if the answer has none.

    A server whose disk is full may answer 200 and nothing: that is not 0.
    """
    answer: object = client.command(
        sql, parameters=dict(parameters or {}), use_database=use_database
    )
    if isinstance(answer, int):
        return answer
    raise StoreError(
        f"the store gave no answer to {sql!r}: its disk may be full, see its log", retryable=True
    )


def rows_of(client: Client, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """Return the array that a query answers, such as a `groupArray`; the query has no other column.

    No match is an empty array; no answer at all is a StoreError.
    """
    return cast("Sequence[Any]", row_of(client, sql, parameters)[0])


def tuples_of(
    client: Client, query: str, parameters: Mapping[str, Any] | None = None
) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a query, in any order; no answer at all, unlike none, is a StoreError."""
    return rows_of(client, f"SELECT groupArray(tuple(*)) FROM ({query})", parameters)  # noqa: S608


def row_of(client: Client, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
    """Return the row of a query that always has one; no answer at all is a StoreError."""
    rows = client.query(sql, parameters=dict(parameters or {})).result_rows
    if len(rows) != 1:
        raise StoreError(
            f"the store gave no answer to {sql!r}: its disk may be full, see its log",
            retryable=True,
        )
    return rows[0]
