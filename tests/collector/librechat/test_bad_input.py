"""A database that is away, forbids, is another one or has odd documents: told, resumed, nothing twice."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from librechat_bench import PERIOD, Bench, span
from librechat_ledger import NOON, LibreChat
from tallyspan_collector.cli import main
from tallyspan_collector.librechat import mongo
from tallyspan_collector.librechat.mongo import FIELDS, Mongo


@contextmanager
def failing(librechat: LibreChat, times: int, after: int = 0, **how: Any) -> Iterator[None]:
    """Let so many `find` commands fail, after so many that do not."""
    admin = librechat.database.client.admin
    data = {"failCommands": ["find"], **how}
    mode = {"skip": after, "times": times}
    admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
    try:
        yield
    finally:
        admin.command("configureFailPoint", "failCommand", mode="off")


def test_a_connection_that_is_lost_is_made_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.librechat.call("m1")
    pauses: list[float] = []
    monkeypatch.setattr(mongo.Mongo.__init__, "__defaults__", ("", pauses.append))
    with failing(bench.librechat, 3, closeConnection=True):  # the driver itself asks twice
        bench.imported()

    assert len(bench.calls()) == 1
    assert pauses == [2.0]


def test_a_database_that_stays_away_is_one_sentence_with_the_day_to_go_on_from(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "ATTEMPTS", 1)
    with failing(bench.librechat, 1_000, closeConnection=True):
        code = bench.run("import", "--mongo", bench.librechat.uri, *PERIOD)

    assert code == 1
    assert bench.err.startswith("tallyspan: MongoDB at 127.0.0.1:")
    assert bench.err.endswith("2026-03-31 to 2026-03-31 are missing\n")
    assert bench.err.count("\n") == 1


@pytest.mark.parametrize(("collection", "after"), [("transactions", 0), ("agents", 3)])
def test_a_role_that_may_not_read_a_collection_is_told_which(
    bench: Bench, collection: str, after: int
) -> None:
    bench.librechat.call("m1")
    bench.librechat.message("m1", endpoint="agents", model="agent_A")
    with failing(bench.librechat, 1, after, errorCode=13):
        code = bench.run("import", "--mongo", bench.librechat.uri, *PERIOD)

    assert code == 2
    assert bench.err.startswith(
        f"tallyspan: collection {collection} of the database LibreChat at 127.0.0.1:"
    )
    assert "its user may not read it" in bench.err
    assert bench.calls() == []


def test_a_wrong_password_is_told_and_not_repeated(bench: Bench) -> None:
    server = bench.librechat.server
    uri = bench.librechat.uri.replace("//", "//tallyspan:SECRET@")
    server.require_auth = True
    try:
        code = bench.run("import", "--mongo", uri, *PERIOD)
    finally:
        server.require_auth = False

    assert code == 2
    assert "there is no such user, or the password is wrong" in bench.err
    assert "SECRET" not in bench.err


def test_without_the_right_to_see_users_the_ledgers_are_compared_all_the_same(
    bench: Bench,
) -> None:
    bench.librechat.call(
        "m1", at=NOON + timedelta(hours=12.5)
    )  # of the next day: there are documents
    span(bench.client, "m2")
    with failing(bench.librechat, 1, 1, errorCode=13):
        code, reasons = bench.reconciled()

    assert (code, reasons) == (1, {("gpt-5-mini", "message"): "unexplained"})


def test_another_database_is_told(bench: Bench) -> None:
    bench.librechat.call("m1")
    bench.imported("--database", "Other")

    assert bench.calls() == []
    assert bench.err == "tallyspan: the database 'Other' has no document of these days\n"


@pytest.mark.parametrize(
    "uri", ["mongodb://u:SECRET@h:x/db", "mongodb://u:SEC/RET@h/db", "http://h", "mongodb://"]
)
def test_what_is_no_uri_is_refused_without_its_password(
    capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    code = main(["librechat", "import", "--mongo", uri])
    err = capsys.readouterr().err

    assert code == 2
    assert err.startswith("tallyspan: the Mongo URI cannot be used")
    assert "SEC" not in err


def test_a_missing_uri_says_where_it_was_looked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIBRECHAT_MONGO_URI", raising=False)
    code = main(["librechat", "import"])

    assert code == 2
    assert capsys.readouterr().err.startswith(
        "tallyspan: import librechat: LIBRECHAT_MONGO_URI: no URI of LibreChat's database"
    )


def test_no_text_of_a_message_and_no_password_is_ever_asked_for(librechat: LibreChat) -> None:
    librechat.message("m1")
    librechat.database.users.insert_one({"name": "Ada", "password": "SECRET", "totpSecret": "S"})
    with Mongo(librechat.uri) as database:
        everything: list[Mapping[str, Any]] = [
            document for name in FIELDS for document in database.all(name)
        ]

    assert len(everything) == 2
    assert "SECRET" not in repr(everything)


def test_pages_are_read_to_the_end(librechat: LibreChat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo, "PAGE_DOCUMENTS", 4)
    for number in range(5):
        librechat.call(f"m{number}")
    with Mongo(librechat.uri) as database:
        documents = list(database.all("transactions"))

    numbers = [each["_id"] for each in documents]
    assert len(numbers) == 10
    assert numbers == sorted(numbers)
