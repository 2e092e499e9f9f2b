"""What is written says the time of the store, whatever is done to the machine's clock."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.clock import Clock


@pytest.mark.parametrize("hours", [-26, 72])
def test_a_process_that_began_with_a_wrong_clock_has_the_stores_once_it_asked(
    client: Client, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: real() + hours * 3_600 * 10**9)
        clock = Clock()
    off = timedelta(hours=hours)
    assert abs(clock.now() - datetime.now(UTC) - off) < timedelta(minutes=1)

    clock.set_by(client)

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_step_of_the_machines_clock_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before, real = clock.now_ns(), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 26 * 3_600 * 10**9)

    assert 0 <= clock.now_ns() - before < 60 * 10**9
