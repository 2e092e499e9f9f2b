"""Batches: each result once, for whoever created the batch, and its own sum only where none came."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlp_spans import START_NS
from tallyspan import semconv
from tallyspan.batch import key_of
from tallyspan_collector.access.keys import Key
from tallyspan_collector.dialects import Reader, Reading
from tallyspan_collector.dialects.batches import is_of_batch, read_batch
from tallyspan_collector.ingest.journal import Batch, Entries, Journal
from tallyspan_collector.ledger.entry import Cost
from tallyspan_collector.read.call import Call, columns_of
from tallyspan_collector.read.otlp import Span
from tallyspan_collector.read.received import Receipt
from tallyspan_collector.resolution.node import LedgerEntry

RECEIVED_MS = START_NS // 1_000_000 + 1_000
COLUMNS = ["input_tokens", "output_tokens", "cache_read_tokens"]
USED = {"q1": (100, 10, 64), "q2": (200, 20, 0), "q3": (300, 30, 0), "q4": (400, 40, 0)}
"""Request -> what its answer used, of the COLUMNS."""
TOTAL = (1500, 150, 64)
"""The sum of a batch of which four results can be read: 500 and 50 are nobody's."""


@dataclass
class Ledger:
    """Entries of any number of processes, added up."""

    entries: list[tuple[int, Call]] = field(default_factory=list)

    def build(
        self, calls: Sequence[Call], reversals: Sequence[LedgerEntry], _rows: object
    ) -> Entries:
        self.entries += [(1, call) for call in calls]
        self.entries += [(-1, each.call) for each in reversals]
        batch = Batch(int.from_bytes(os.urandom(8)), len(calls) + len(reversals), (), b"")
        return Entries(batch, [Cost(7, cost_status="priced") for _ in calls], columns_of(calls))

    def net(self) -> Counter[tuple[object, ...]]:
        """User, part, input, output, cache read -> how many such calls there are."""
        sums: Counter[tuple[object, ...]] = Counter()
        for sign, call in self.entries:
            usage = call.usage
            counts = usage.input_tokens, usage.output_tokens, usage.cache_read_tokens
            sums[call.user_id, call.part, *counts] += sign
        assert all(count >= 0 for count in sums.values())
        return +sums


def readings(attributes: dict[str, Any], user: str = "", key: str = "") -> list[Reading]:
    """What the collector reads from a span of ours that says this of a batch."""
    common = {
        semconv.OPERATION: "batch",
        semconv.PROVIDER: "openai",
        semconv.RESPONSE_MODEL: "gpt-5-mini",
        semconv.SERVICE_TIER: "batch",
    }
    who = {semconv.USER_ID: user} if user else {}
    span = Span(
        "a" * 32, "b" * 16, "", START_NS, START_NS + 5, False, {**common, **attributes, **who},
        {"service.name": "shop"}, "tallyspan",
    )  # fmt: skip
    assert is_of_batch(span)
    receipt = Receipt(
        RECEIVED_MS, Key("id", "ingest", key, "digest", tenant="acme") if key else None
    )
    return read_batch(span, lambda each: Reader().read(each, receipt))


def created(user: str = "ada", key: str = "") -> list[Reading]:
    return readings({semconv.BATCH_EVENT: "created", semconv.BATCH_ID: "batch_1"}, user, key)


def state(*, has_total: bool = True, key: str = "") -> list[Reading]:
    total = {
        semconv.BATCH_COLUMNS: COLUMNS,
        semconv.BATCH_ITEMS: [f" - batch_1 {' '.join(map(str, TOTAL))}"],
    }
    return readings(
        {
            semconv.BATCH_EVENT: "state",
            semconv.BATCH_ID: "batch_1",
            semconv.BATCH_FILES: ["file-2", "file-3"],
            **(total if has_total else {}),
        },
        key=key,
    )


def results(*names: str, reader: str = "cron", key: str = "", more: int = 0) -> list[Reading]:
    return readings(
        {
            semconv.BATCH_EVENT: "results",
            semconv.BATCH_ID: "",
            semconv.BATCH_FILE: "file-2",
            semconv.BATCH_COLUMNS: COLUMNS,
            semconv.BATCH_ITEMS: [
                f"{key_of(name)} - resp_{name} {USED[name][0] + more} {USED[name][1]} {USED[name][2]}"
                for name in names
            ],
        },
        reader,
        key,
    )


@contextmanager
def journal(path: Path, **settings: Any) -> Iterator[Journal]:
    opened = Journal(path, **settings)
    try:
        yield opened
    finally:
        opened.close()


def book(path: Path, steps: Iterable[list[Reading]], **settings: Any) -> Ledger:
    """Book each step in a process of its own."""
    ledger = Ledger()
    for step in steps:
        with journal(path, **settings) as opened:
            opened.book(1, None, step, ledger.build)
    return ledger


def items(user: str, *names: str) -> Counter[tuple[object, ...]]:
    return Counter((user, "batch_item", *USED[name]) for name in names)


def rest(user: str, part: str, *counts: int) -> Counter[tuple[object, ...]]:
    return Counter([(user, part, *counts)])


def test_results_are_those_of_the_creator_whoever_reads_them(tmp_path: Path) -> None:
    ledger = book(tmp_path / "j", [created(), state(has_total=False), results("q1", "q2")])

    assert ledger.net() == items("ada", "q1", "q2")
    assert {call.response_id for _, call in ledger.entries} == {"resp_q1", "resp_q2"}
    assert {call.service_tier for _, call in ledger.entries} == {"batch"}


def test_of_an_unknown_creator_the_reader_is_the_user(tmp_path: Path) -> None:
    assert book(tmp_path / "j", [results("q1")]).net() == items("cron", "q1")


def test_a_sum_is_booked_whole_while_no_result_was_read(tmp_path: Path) -> None:
    ledger = book(tmp_path / "j", [created(), state(), state(), state(has_total=False)])

    assert ledger.net() == rest("ada", "batch_total", *TOTAL)
    assert len(ledger.entries) == 1


def test_of_a_sum_stays_what_the_results_leave(tmp_path: Path) -> None:
    ledger = book(tmp_path / "j", [created(), state(), results("q1", "q2"), results("q2", "q3")])

    # 1500 - 100 - 200 - 300, 150 - 10 - 20 - 30, 64 - 64
    assert ledger.net() == items("ada", "q1", "q2", "q3") + rest("ada", "batch_rest", 900, 90, 0)


def test_nothing_stays_of_a_sum_that_the_results_reach(tmp_path: Path) -> None:
    steps = [created(), state(), *(results(name, more=125) for name in USED)]

    # 100 + 200 + 300 + 400 + 4 * 125 = 1500, and 100 of 150 output tokens
    assert (
        sum(
            count * int(str(counts[2]))
            for counts, count in book(tmp_path / "j", steps).net().items()
        )
        == TOTAL[0]
    )


EVENTS = [created(), state(), results("q1"), results("q1", "q2", "q3"), results("q2", "q4")]


@given(
    st.permutations(range(len(EVENTS))),
    st.lists(st.integers(0, len(EVENTS) - 1), max_size=4),
    st.lists(st.integers(0, 2), min_size=9, max_size=9),
)
@settings(max_examples=12)
def test_any_order_repetition_process_and_restart_gives_the_same_sums(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], again: list[int], where: list[int]
) -> None:
    path = tmp_path_factory.mktemp("any") / "j"
    ledger = Ledger()
    processes = [Journal(path), Journal(path)]
    for event, process in zip([*order, *again], where, strict=False):
        if process == len(processes):
            processes[0].close()
            processes[0] = Journal(path)
        processes[process % 2].book(1, None, EVENTS[event], ledger.build)
    for each in processes:
        each.close()

    # 1500 - 100 - 200 - 300 - 400, 150 - 10 - 20 - 30 - 40
    left = rest("ada", "batch_rest", 500, 50, 0)
    assert ledger.net() == items("ada", "q1", "q2", "q3", "q4") + left


def test_what_came_in_one_request_is_the_same(tmp_path: Path) -> None:
    steps = [[*results("q1"), *state(), *results("q1", "q2"), *created(), *created()]]

    net = book(tmp_path / "j", steps).net()
    assert net == items("ada", "q1", "q2") + rest("ada", "batch_rest", 1200, 120, 0)


def test_a_result_that_another_key_of_the_tenant_reads_is_the_same_call(tmp_path: Path) -> None:
    steps = [
        created(key="app"),
        state(key="worker"),
        results("q1", key="worker", reader=""),
        results("q1", "q2", key="app"),
    ]
    net = book(tmp_path / "j", steps).net()

    assert net == items("ada", "q1", "q2") + rest("ada", "batch_rest", 1200, 120, 0)


def test_another_key_cannot_take_a_result_away_or_its_user_over(tmp_path: Path) -> None:
    false = results("q1", key="other", more=-99)
    named = state(has_total=False, key="other")
    steps = [false, created("eve", key="other"), named]
    steps += [created(key="app"), results("q1", key="app")]
    ledger = book(tmp_path / "j", [*steps, *steps])

    # other's own report stays other's charge, and app's is booked, flagged and app's user's
    assert ledger.net() == items("ada", "q1") + Counter([("eve", "batch_item", 1, 10, 64)])
    disputed = {(call.source, *call.quality_flags) for _, call in ledger.entries}
    assert disputed == {("other",), ("app", "reports_disagree")}


def test_results_that_name_no_model_are_of_the_one_the_batch_was_created_for(
    tmp_path: Path,
) -> None:
    unnamed = {semconv.RESPONSE_MODEL: "", semconv.BATCH_ID: "job"}
    one = readings({
        **unnamed,
        semconv.BATCH_EVENT: "results",
        semconv.BATCH_COLUMNS: COLUMNS,
        semconv.BATCH_ITEMS: [f"{key_of('q1')} - r 100 10 64"],
    })  # fmt: skip
    job = {**unnamed, semconv.BATCH_EVENT: "created", semconv.REQUEST_MODEL: "nova"}
    for number, steps in enumerate(([one, readings(job, "ada")], [readings(job, "ada"), one])):
        ledger = book(tmp_path / f"j{number}", steps)
        models: Counter[str] = Counter()
        for sign, call in ledger.entries:
            models[call.model_name] += sign

        assert ledger.net() == items("ada", "q1")
        assert +models == {"nova": 1}


def test_trusted_keys_are_one_party(tmp_path: Path) -> None:
    steps = [results("q1", key="one"), results("q1", key="other", more=1), created(key="other")]
    steps += [state(has_total=False, key="one")]

    net = book(tmp_path / "j", steps, trusted_keys=["one", "other"]).net()
    assert net == items("ada", "q1")


@pytest.mark.parametrize(
    "item",
    [
        "", "x", f"{key_of('q1')} - r 1 2", f"{key_of('q1')} - r 1 2 3 4", "zz - r 1 2 3",
        f"{key_of('q1')} - r - - -", f"{key_of('q1')} - r -1 two 1e9", f"{key_of('q1')}  - r 1 2 3",
    ],
)  # fmt: skip
def test_what_is_no_packed_result_is_left_out(item: str) -> None:
    attributes = {
        semconv.BATCH_EVENT: "results",
        semconv.BATCH_ID: "batch_1",
        semconv.BATCH_COLUMNS: COLUMNS,
        semconv.BATCH_ITEMS: [item, f"{key_of('q2')} - r 1 2 0"],
    }
    (only,) = readings(attributes)

    assert only.call is not None
    assert only.call.usage.input_tokens == 1


@pytest.mark.parametrize(
    ("created_s", "is_taken"),
    [("1789999000", True), ("1790000999", False), ("5", False), ("-", False), ("x", False)],
)
def test_a_result_is_of_the_time_that_the_provider_states_if_it_can_be(
    created_s: str, is_taken: bool
) -> None:
    (only,) = readings({
        semconv.BATCH_EVENT: "results",
        semconv.BATCH_ID: "batch_1",
        semconv.BATCH_COLUMNS: ["input_tokens"],
        semconv.BATCH_ITEMS: [f"{key_of('q1')} {created_s} r 1"],
    })  # fmt: skip

    assert only.call is not None
    time_ns = int(created_s) * 10**9 if is_taken else START_NS
    assert only.call.start_time_ns == time_ns


def test_an_amount_that_no_meter_knows_is_named_as_unread() -> None:
    (only,) = readings({
        semconv.BATCH_EVENT: "results",
        semconv.BATCH_ID: "batch_1",
        semconv.BATCH_COLUMNS: ["input_tokens", "hologram_tokens", "web_search", "requests"],
        semconv.BATCH_ITEMS: [f"{key_of('q1')} - r 1 2 3 9"],
    })  # fmt: skip

    assert only.call is not None
    assert only.call.unread == ("hologram_tokens", "requests")
    assert only.call.meters == {"web_search": 3.0}
    assert only.call.quality_flags == ("unread_usage",)


def started(
    user: str = "ada", each: Sequence[str] = ("video_seconds=4", "resolution=4K")
) -> list[Reading]:
    """An operation that makes videos: what each bills is said by the request that started it."""
    return readings(
        {semconv.BATCH_EVENT: "created", semconv.BATCH_ID: "o1", semconv.BATCH_EACH: [*each]}, user
    )


def done(videos: int = 2, reader: str = "cron") -> list[Reading]:
    return readings(
        {
            semconv.BATCH_EVENT: "results",
            semconv.BATCH_ID: "o1",
            semconv.BATCH_COLUMNS: ["videos"],
            semconv.BATCH_ITEMS: [f"{key_of(f'#{number}')} - - 1" for number in range(videos)],
        },
        reader,
    )


def billed(ledger: Ledger) -> Counter[tuple[object, ...]]:
    """User, meters, resolution -> how many such calls there are."""
    sums: Counter[tuple[object, ...]] = Counter()
    for sign, call in ledger.entries:
        meters = tuple(sorted(call.meters.items()))
        sums[call.user_id, meters, call.conditions.get("resolution")] += sign
    assert all(count >= 0 for count in sums.values())
    return +sums


@settings(max_examples=25)
@given(order=st.permutations([started, done, done, started]), is_one_request=st.booleans())
def test_videos_bill_what_the_request_said_once_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[Any], *, is_one_request: bool
) -> None:
    told = [step() for step in order]
    steps = [[reading for step in told for reading in step]] if is_one_request else told
    ledger = book(tmp_path_factory.mktemp("journal") / "j", steps)

    assert billed(ledger) == {("ada", (("video_seconds", 4.0),), "4k"): 2}


def test_videos_of_an_operation_that_nobody_saw_start_have_no_length(tmp_path: Path) -> None:
    ledger = book(tmp_path / "j", [done(1), done(1, reader="other")])

    assert billed(ledger) == {("cron", (("videos", 1.0),), None): 1}


@pytest.mark.parametrize(
    "each", ["video_seconds=much", "video_seconds", "requests=9", "nothing=1", "", "=1"]
)
def test_what_no_meter_is_and_no_number_bills_nothing(tmp_path: Path, each: str) -> None:
    ledger = book(tmp_path / "j", [started(each=[each]), done(1)])

    assert billed(ledger) == {("ada", (("videos", 1.0),), None): 1}
