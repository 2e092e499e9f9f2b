"""LibreChat's database, read only: `find` with named fields, page by page, tried again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from tallyspan_collector.errors import BillError, ConfigError

DATABASE = "LibreChat"
"""Its usual name, where the URI names none."""
PAGE_DOCUMENTS = 5_000
IDS_AT_ONCE = 1_000
"""So many values of `$in` are asked for at once."""
ATTEMPTS = 5
SELECTION_MS = 10_000
FIELDS: Mapping[str, Sequence[str]] = {
    "transactions": (
        "user", "conversationId", "messageId", "tokenType", "model", "context", "rawAmount",
        "inputTokens", "writeTokens", "readTokens", "rate", "tokenValue", "tenantId",
    ),
    "messages": (
        "messageId", "endpoint", "model", "error", "langfuseSampled", "metadata.usage", "createdAt",
    ),
    "conversations": ("conversationId", "endpoint", "agent_id"),
    "agents": ("id", "name", "provider", "tools"),
    "users": ("email", "username", "name", "idOnTheSource", "tenantId"),
    "groups": ("name", "memberIds", "tenantId"),
}  # fmt: skip
"""All that is ever asked for, by collection: no text of a message, no title, no password."""
_REFUSED = {13: "its user may not read it", 18: "there is no such user, or the password is wrong"}
Document = dict[str, Any]
Answer = TypeVar("Answer")


class Mongo:
    """A database of LibreChat, opened by a URI; its password is in no message."""

    def __init__(
        self, uri: str, database: str = "", sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Open it. Raises `ConfigError` for what is no URI, and where pymongo is not installed."""
        try:
            from pymongo import MongoClient
            from pymongo.errors import PyMongoError
        except ModuleNotFoundError:
            raise ConfigError(
                "LibreChat's ledger is read with pymongo, which is not installed:"
                " pip install 'tallyspan[librechat]'"
            ) from None
        try:
            self._client: MongoClient[Document] = MongoClient(
                uri,
                tz_aware=True,
                appname="tallyspan",
                datetime_conversion="DATETIME_AUTO",
                unicode_decode_error_handler="replace",
                **({} if "serverselectiontimeoutms" in uri.lower() else _SOON),
            )
            self._database = self._client.get_default_database(DATABASE)
        except (PyMongoError, ValueError, TypeError):  # the message may repeat the URI
            raise ConfigError(
                "the Mongo URI cannot be used: it must be"
                " mongodb://USER:PASSWORD@HOST:PORT/DATABASE or mongodb+srv://..., with /, :, @"
                " and % in a password written as %2F, %3A, %40, %25"
            ) from None
        if database:
            self._database = self._client[database]
        self._sleep = sleep

    @property
    def name(self) -> str:
        """Return the name of the database."""
        return self._database.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def by_id(self, collection: str, first: Any, end: Any) -> Iterator[Document]:
        """Yield documents with an `_id` from `first` until before `end`, in that order.

        A page that fails is asked for again, from the last `_id` that came. Raises `ConfigError`
        where the server refuses, `BillError` where it cannot be reached.
        """
        bounds = {"$gte": first, "$lt": end}
        while True:
            page = self.find(collection, {"_id": bounds}, PAGE_DOCUMENTS)
            yield from page
            if len(page) < PAGE_DOCUMENTS:
                return
            bounds = {"$gt": page[-1]["_id"], "$lt": end}

    def all(self, collection: str) -> Iterator[Document]:
        """Yield all documents of a collection; raises as `by_id`."""
        from bson import MaxKey, MinKey

        return self.by_id(collection, MinKey(), MaxKey())

    def with_values(self, collection: str, name: str, values: Sequence[Any]) -> Iterator[Document]:
        """Yield documents whose field `name` has one of these values; raises as `by_id`."""
        for start in range(0, len(values), IDS_AT_ONCE):
            part = list(values[start : start + IDS_AT_ONCE])
            yield from self.find(collection, {name: {"$in": part}})

    def find(
        self,
        collection: str,
        condition: Mapping[str, Any],
        limit: int = 0,
        *,
        order: tuple[str, int] = ("_id", 1),
    ) -> list[Document]:
        """Return the documents, with the `FIELDS` of their collection and their `_id`."""

        def ask() -> list[Document]:
            cursor = self._database[collection].find(
                condition, dict.fromkeys(FIELDS[collection], 1), limit=limit
            )
            return list(cursor.sort(*order) if limit else cursor)

        return self._again(collection, ask)

    def count(self, collection: str, condition: Mapping[str, Any]) -> int:
        """Return how many documents there are."""
        return self._again(
            collection, lambda: self._database[collection].count_documents(condition)
        )

    def _again(self, collection: str, ask: Callable[[], Answer]) -> Answer:
        """Return what `ask` returns, which is tried again while there is no connection."""
        from pymongo.errors import ConnectionFailure

        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._named_errors(collection):
                    return ask()
            except ConnectionFailure as error:
                if attempt == ATTEMPTS:
                    raise BillError(
                        f"MongoDB at {self._hosts()} cannot be reached: {_brief(error)}"
                    ) from None
                self._sleep(2.0**attempt)
        raise AssertionError("unreachable")

    @contextmanager
    def _named_errors(self, collection: str) -> Iterator[None]:
        """Turn what the server says no to into one sentence; a lost connection passes."""
        from bson.errors import BSONError
        from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

        place = f"collection {collection} of the database {self.name} at {self._hosts()}"
        try:
            yield
        except ConnectionFailure:
            raise
        except OperationFailure as error:
            if error.code in _REFUSED:
                raise ConfigError(
                    f"{place}: {_REFUSED[error.code]}; it takes a user of that database"
                    " who may find in it, see docs/librechat-ledger.md"
                ) from None
            raise BillError(f"{place}: {_brief(error)}") from None
        except (PyMongoError, BSONError) as error:
            raise BillError(f"{place}: {_brief(error)}") from None

    def _hosts(self) -> str:
        from pymongo.errors import PyMongoError

        try:
            nodes = self._client.topology_description.server_descriptions()
        except PyMongoError:
            return "its address"
        return ", ".join(sorted(f"{host}:{port}" for host, port in nodes)) or "its address"


_SOON: dict[str, Any] = {"serverSelectionTimeoutMS": SELECTION_MS}


def _brief(error: Exception) -> str:
    """Return the first sentence of an error: the driver adds what it knows of every server."""
    text = str(error)
    for more in (", Timeout:", ", full error:", " (configured timeouts:"):
        text = text.partition(more)[0]
    return text[:300]
