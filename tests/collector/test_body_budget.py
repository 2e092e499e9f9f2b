"""Bodies are bounded all together, before they are received whole."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from otlp_spans import CHAT, request, span
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.errors import OverloadedError
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.receiver.budget import SMALL_BYTES, Budget
from tallyspan_collector.receiver.http import create_app
from tallyspan_collector.receiver.intake import Intake

BODY = request(span(1, CHAT))
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    spool = Spool(tmp_path / "0.sqlite", 1 << 20)
    intake = Intake(spool, "", Keys(), Metrics(), is_local=True)
    yield intake
    intake.close()
    spool.close()


def post(intake: Intake, content: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(intake, Metrics()))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post("/v1/traces", content=content, headers={**PROTOBUF, **headers})

    return asyncio.run(run())


def _fill(budget: Budget, count: int) -> None:
    with budget.body() as size:
        size.add(count)


def test_what_a_body_took_is_free_again_whatever_became_of_it() -> None:
    budget = Budget(100)
    with budget.body() as first:
        first.add(60)
        with pytest.raises(OverloadedError, match="60 bytes of requests are being received"):
            _fill(budget, 41)
        _fill(budget, 40)
    _fill(budget, 100)

    assert budget.used_bytes == 0


def test_large_bodies_leave_a_quarter_to_the_others() -> None:
    budget = Budget(8 * SMALL_BYTES)
    with budget.body() as large, budget.body() as small:
        for _ in range(6):
            large.add(SMALL_BYTES)
        with pytest.raises(OverloadedError):
            large.add(1)
        small.add(SMALL_BYTES)

        assert budget.used_bytes == 7 * SMALL_BYTES


def test_a_body_beyond_the_budget_is_asked_to_come_again_and_not_read_on(intake: Intake) -> None:
    intake.budget = Budget(len(BODY) - 1)
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(9):
            sent += 1
            yield BODY[:-2]

    answer = post(intake, parts())

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert sent == 2
    assert intake.budget.used_bytes == 0


def test_what_a_body_is_unpacked_to_counts(intake: Intake) -> None:
    packed = gzip.compress(BODY * 50)
    intake.budget = Budget(len(packed) + len(BODY))
    assert post(intake, packed, **{"content-encoding": "gzip"}).status_code == 503

    intake.budget = Budget(len(packed) + 50 * len(BODY))
    assert post(intake, packed, **{"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_body_that_is_checked_in_a_thread_is_answered_the_same(
    intake: Intake, coding: str
) -> None:
    untimed = span(2, CHAT)
    untimed.ClearField("start_time_unix_nano")
    untimed.ClearField("end_time_unix_nano")
    large = request(untimed, *(span(number, {**CHAT, "x": "y" * 3000}) for number in range(400)))
    body = large if coding == "identity" else gzip.compress(large, 1)
    answer = post(intake, body, **{"content-encoding": coding})

    assert len(large) > 1 << 20
    assert (answer.status_code, b"no time" in answer.content) == (200, True)


def test_a_body_that_becomes_more_than_a_hundred_times_as_large_is_refused(intake: Intake) -> None:
    packed = gzip.compress(bytes(2 << 20))
    answer = post(intake, packed, **{"content-encoding": "gzip"})

    assert answer.status_code == 413
    assert b"above 100 times its packed size" in answer.content


def test_a_password_of_other_letters_is_no_key(intake: Intake) -> None:
    async def run() -> list[int]:
        transport = httpx.ASGITransport(create_app(intake, Metrics()))
        intake._is_local = False
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answers = [
                await client.post(
                    "/v1/traces", headers=[(b"authorization", text.encode("latin-1"))]
                )
                for text in ("Basic äöü", "Bearer äöü", "Basic =", "Basic YQ=", "ä", "Basic")
            ]
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [401] * 6
