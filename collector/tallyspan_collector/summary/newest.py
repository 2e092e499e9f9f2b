"""Where the newest calls are: pieces of time to read, newest first, until a page is full.

To sort calls by their time, ClickHouse reads all there are. The rollups know in which hours there
are calls of these filters, and of a user on which days in which conversations, so that the ledger
is read where the page is. A rollup that does not know one of the filters promises more calls than
there are: then the page is not full yet, and the next piece is a larger one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import EPOCH, MICROSECOND, microseconds, sql_moment
from tallyspan_clickhouse.query.filters import Filters, Parameters, source
from tallyspan_clickhouse.query.zones import MAX_ROLLUP_MOMENT
from tallyspan_clickhouse.schema import SCHEMA
from tallyspan_collector.summary.rows import rows

# A page that is not full is followed by a piece of so many times the calls, and a rollup that had
# too few by so many times its time.
_GROWTH = 16
# So many hours are named one by one: each is a few granules, by key. So many conversations: each
# but a few granules by its index, which is wrong about one granule in a hundred.
MAX_HOURS, MAX_CONVERSATIONS = 200, 40
# What these filters let through, where the rollups have counted it.
_COUNTED = {
    ("status", "error"): "c.errors",
    ("status", "ok"): "c.calls - c.errors",
    ("usage_source", "estimated"): "c.estimated_calls",
    ("cost_status", "unpriced"): "c.unpriced_calls",
    ("cost_status", "notional"): "c.notional_calls",
}
# What calls work out of all their entries, a rollup may have booked otherwise.
_WORKED_OUT = {column.name for column in SCHEMA.call_columns}
_COLUMNS = {rollup.view: rollup.columns - _WORKED_OUT for rollup in SCHEMA.rollups}


@dataclass(slots=True, frozen=True)
class _Source:
    """A rollup: its time and the unit of it, the columns it knows, how far is looked first."""

    view: str
    time: str
    start_of_unit: str
    unit: timedelta
    columns: frozenset[str]
    first_span: timedelta
    conversations: str


_BY_HOUR = _Source(
    "usage_hourly",
    "c.hour",
    "c.hour",
    timedelta(hours=1),
    _COLUMNS["usage_hourly"],
    timedelta(days=1),
    "[]",
)
# What no rollup knows together is looked for in the ledger, where tags and users have an index.
_OF_LEDGER = replace(
    _BY_HOUR,
    view="usage_entries",
    time="c.start_time",
    start_of_unit="toStartOfHour(c.start_time)",
    columns=_BY_HOUR.columns | {"tags", "user_id"},
)
_OF_USER = _Source(
    "usage_by_conversation",
    "toDateTime(c.day, 'UTC')",
    "toDateTime(c.day, 'UTC')",
    timedelta(days=1),
    _COLUMNS["usage_by_conversation"],
    timedelta(days=64),
    f"groupUniqArray({MAX_CONVERSATIONS + 1})(c.conversation_id)",
)


@dataclass(slots=True, frozen=True)
class _Unit:
    """An hour or a day with calls; the conversations of a user's day, or more than can be named."""

    start: datetime
    calls: int
    conversations: tuple[str, ...]


Bound = tuple[str, Parameters]


def pieces(
    client: Client, filters: Filters, before: datetime | None, wanted: int
) -> Iterator[Bound]:
    """Yield conditions on `calls AS c` with their parameters, each of times before the last one's.

    Every call of the filters that began before `before` (None: ever) is in one of them, and the
    first few are likely to have `wanted` calls.
    """
    stop = min((each for each in (filters.end, before) if each is not None), default=None)
    # An index leads to the calls of a conversation, and parts say how old and new all calls are.
    conversation_id = filters.get("conversation_id")
    of_conversation = Filters(conversation_id=conversation_id, access=filters.access)
    text, parameters = source("usage_entries", of_conversation, None)
    [ends] = rows(
        client,
        "SELECT toUnixTimestamp64Micro(min(c.start_time)) AS oldest,"
        f" toUnixTimestamp64Micro(max(c.start_time)) AS newest {text}",
        parameters,
    )
    oldest, newest = _moment(ends["oldest"]), _moment(ends["newest"])
    until = newest + MICROSECOND if stop is None else min(stop, newest + MICROSECOND)
    if until > MAX_ROLLUP_MOMENT:
        yield f"c.start_time >= {sql_moment('far_us')}", {"far_us": microseconds(MAX_ROLLUP_MOMENT)}
        until = MAX_ROLLUP_MOMENT
    since = max(oldest, filters.start or EPOCH)
    if conversation_id is not None:
        if since < until:
            yield _between(since, until)
        return
    rollup = _source(filters)
    piece: list[_Unit] = []
    promised = 0
    for unit in _units(client, rollup, filters, since, until):
        piece.append(unit)
        # How much of the unit that the page begins in comes later, nobody knows.
        if stop is None or unit.start + rollup.unit <= stop:
            promised += unit.calls
        if promised >= wanted:
            yield _bound(rollup, piece)
            piece, promised, wanted = [], 0, wanted * _GROWTH
    if piece:
        yield _bound(rollup, piece)


def _units(
    client: Client, rollup: _Source, filters: Filters, since: datetime, until: datetime
) -> Iterator[_Unit]:
    """Yield the units with calls of the filters, as far as the rollup knows these, newest first."""
    since, until = _floor(since, rollup.unit), _ceiling(until, rollup.unit)
    text, parameters = source(
        rollup.view,
        filters.only(rollup.columns),
        None,
        f"{rollup.time} >= {sql_moment('since_us')}",
        f"{rollup.time} < {sql_moment('until_us')}",
    )
    counted = next(
        (text for (name, value), text in _COUNTED.items() if filters.get(name) == value),
        "c.calls",
    )
    span = rollup.first_span
    while until > since:
        first = max(since, until - span) if until - since > span else since
        yield from (
            _Unit(_moment(row["unit"] * 1_000_000), row["counted"], tuple(row["conversations"]))
            for row in rows(
                client,
                f"SELECT toUnixTimestamp({rollup.start_of_unit}) AS unit,"
                f" toInt64(sum({counted})) AS counted, {rollup.conversations} AS conversations"
                f" {text} GROUP BY unit HAVING counted > 0 ORDER BY unit DESC",
                {
                    **parameters,
                    "since_us": microseconds(first),
                    "until_us": microseconds(until),
                },
            )
        )
        until, span = first, span * _GROWTH


def _source(filters: Filters) -> _Source:
    if filters.get("user_id") is None:
        return _OF_LEDGER if filters.tags else _BY_HOUR
    # The status and the like it counts, or promises too much.
    return _OF_USER if filters.columns() & _OF_LEDGER.columns <= _OF_USER.columns else _OF_LEDGER


def _between(since: datetime, until: datetime) -> Bound:
    first, stop = sql_moment("piece_since_us"), sql_moment("piece_until_us")
    return (
        f"c.start_time >= {first} AND c.start_time < {stop}",
        {"piece_since_us": microseconds(since), "piece_until_us": microseconds(until)},
    )


def _bound(rollup: _Source, piece: list[_Unit]) -> Bound:
    text, parameters = _between(piece[-1].start, piece[0].start + rollup.unit)
    if rollup is not _OF_USER and len(piece) <= MAX_HOURS:
        text += " AND toStartOfHour(c.start_time) IN {piece_hours:Array(DateTime)}"
        parameters["piece_hours"] = [int(each.start.timestamp()) for each in piece]
    named = {name for each in piece for name in each.conversations}
    if rollup is _OF_USER and len(named) <= MAX_CONVERSATIONS:
        text += " AND c.conversation_id IN {piece_conversations:Array(String)}"
        parameters["piece_conversations"] = sorted(named)
    return text, parameters


def _moment(microseconds_since: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds_since)


def _floor(moment: datetime, unit: timedelta) -> datetime:
    return moment - (moment - EPOCH) % unit


def _ceiling(moment: datetime, unit: timedelta) -> datetime:
    return moment + (EPOCH - moment) % unit
