"""The address of a store -> a client for it, or one line that says what is wrong with it."""

import re
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver import options
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse.answers import pool
from tallyspan_clickhouse.errors import StoreError

DEFAULT_DATABASE = "tallyspan"
FORM = "http(s)://user:password@host:port/database"
"""What stands in the path before the database is a proxy's, or the local store's secret one."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_READ_SECONDS = 300
"""Of a command, which may move months of entries."""
REQUIRED_PASSWORD, AUTHENTICATION_FAILED, WRONG_PASSWORD, UNKNOWN_USER = 194, 516, 193, 192
NOT_LET_IN = {REQUIRED_PASSWORD, AUTHENTICATION_FAILED, WRONG_PASSWORD, UNKNOWN_USER}
# What the HTTP library says when nobody is there.
UNREACHABLE = ("Failed to establish", "Failed to resolve", "Connection refused", "timed out")


def without_data_frames() -> None:
    """Keep clickhouse-connect from loading pandas and pyarrow where they are installed.

    It would, to ask whether what it inserts is a data frame: a process that has none is spared it.
    """
    for name in ("pd", "np", "arrow", "pl"):
        vars(options)[name] = None


def connect(
    url: str, *, database: str | None = None, read_seconds: int = MAX_READ_SECONDS
) -> Client:
    """Return a client for the store at `http(s)://user:password@host:port/database`.

    Several threads may use it at once. The database need not exist yet; `database` overrides the
    one of the URL. An answer without ClickHouse's own proof is an error, and so is one of which
    nothing comes for `read_seconds`. Raises StoreError, never naming the password.
    """
    parts = _checked(url)
    name = database or database_name(url)
    port = parts.port or (8443 if parts.scheme == "https" else 8123)
    try:
        client = clickhouse_connect.get_client(
            interface=parts.scheme,
            host=str(parts.hostname),
            port=port,
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            proxy_path="/".join(_path(parts)[:-1]),
            client_name="tallyspan",
            autogenerate_session_id=False,  # a session admits one query at a time
            autogenerate_query_id=True,  # the answer must have it
            pool_mgr=pool(parts.scheme, str(parts.hostname), port),
            connect_timeout=5,
            send_receive_timeout=read_seconds,
            query_retries=0,
            tz_mode="aware",
        )
    except Exception as error:  # noqa: BLE001  what answers there may be anything
        _explain(parts, error)
    client.database = name
    return client


def database_name(url: str) -> str:
    """Return the database a store's URL names, `tallyspan` when it names none."""
    return _path(_checked(url))[-1] or DEFAULT_DATABASE


def shown(url: str) -> str:
    """Return what may be printed of a store's URL: host, port and database; `local` as it is."""
    if url == "local":
        return url
    parts = _checked(url)
    return f"{parts.netloc.rpartition('@')[2]}/{database_name(url)}"


def one_line(error: BaseException) -> str:
    """Return what the server said, in one line, without the client's own wrapping.

    Of addresses only host and port are left: the path of a local store is a secret.
    """
    text = " ".join(str(error).split())
    text = re.sub(r"(https?://[^\s/()'\"]+)/[^\s()'\"]*", r"\1", text)
    text = re.sub(r" with url: /\S*", "", text)
    text = re.sub(r"^Received ClickHouse exception.*?server response: ", "", text)
    text = re.sub(r" ?\(for url [^)]*\)$| ?\(version [^)]*\)", "", text)
    text = re.sub(r" executing HTTP request attempt \d+ \([^)]*\)$", "", text)
    return text.removeprefix("Error ")[:500]


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise StoreError(f"the store's URL has no valid host and port: use {FORM}") from None
    if parts.scheme not in {"http", "https"}:
        raise StoreError(f"the store's URL must start with http:// or https://: use {FORM}")
    if not parts.hostname or port == 0:
        raise StoreError(f"the store's URL names no host or no valid port: use {FORM}")
    if parts.query or parts.fragment:
        unknown = re.split(r"[=&]", parts.query or parts.fragment)[0]
        raise StoreError(f"the store's URL has an unknown parameter {unknown!r}: use {FORM}")
    name = _path(parts)[-1]
    if name and not NAME.fullmatch(name):
        raise StoreError(
            f"the store's URL names a database that cannot be: {name!r}; "
            "letters, digits and _ are allowed"
        )
    return parts


def _path(parts: SplitResult) -> list[str]:
    """Return the parts of the path; the last one, maybe empty, is the database."""
    return parts.path.strip("/").split("/")


def _explain(parts: SplitResult, error: Exception) -> NoReturn:
    place = f"{parts.hostname}:{parts.port or 'default port'}"
    user = unquote(parts.username or "default")
    text = one_line(error)
    code = re.match(r"Code: (\d+)", text)
    retryable = False
    if (code and int(code[1]) in NOT_LET_IN) or "AUTHENTICATION_FAILED" in text:
        message = (
            f"the store at {place} does not let user {user!r} in: "
            "check user and password in the store's URL"
        )
    elif code:
        message = f"the store at {place} refused: {text}"
        retryable = True
    elif isinstance(error, ClickHouseError) and any(sign in text for sign in UNREACHABLE):
        message = (
            f"no store answers at {place}: start it, or check host and port in the store's URL"
        )
        retryable = True
    else:
        message = (
            f"what answers at {place} is not a ClickHouse HTTP interface: "
            "check host, port and scheme in the store's URL (ClickHouse: 8123, with TLS 8443)"
        )
        retryable = True  # or what stands in front of it answers in its place
    # `from None`: the causes quote requests, and a traceback must not show what they carry
    raise StoreError(message, retryable=retryable) from None
