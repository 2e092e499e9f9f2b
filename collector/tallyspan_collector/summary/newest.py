"""Where the newest calls are: pieces of time to read, newest first, until a page is full.

To sort calls by their time, ClickHouse reads all there are. The rollups know in which hours there
are calls of these filters, and of a user on which days in which conversations, so that the ledger
is read where the page is. A rollup that does not know one of the filters promises more calls than
there are: then the page is not full yet, and the next piece is a larger one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.summary.asking import rows
from tallyspan_collector.summary.conditions import Parameters, at, conditions
from tallyspan_collector.summary.question import DIMENSIONS, Filters
from tallyspan_collector.summary.rollups import ROLLUPS_END
from tallyspan_collector.summary.times import EPOCH, MICROSECOND, microseconds

# A page that is not full is followed by a piece of so many times the calls, and a rollup that had
# too few by so many times its time.
_MORE = 16
# So many hours are named one by one: each is a few granules, by key. So many conversations: each
# but a few granules by its index, which is wrong about one granule in a hundred.
_MOST_HOURS, _MOST_CONVERSATIONS = 200, 40
# What these filters let through, where the rollups have counted it.
_COUNTED = {
    ("status", "error"): "c.errors",
    ("status", "ok"): "c.calls - c.errors",
    ("usage_source", "estimated"): "c.estimated_calls",
    ("usage_source", "unknown"): "c.unknown_usage_calls",
    ("cost_status", "unpriced"): "c.unpriced_calls",
    ("cost_status", "notional"): "c.notional_calls",
}
_BOTH = {"tenant", "department", "model_name", "agent_id", "service_name", "source"}


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
    frozenset(
        _BOTH | {"provider_name", "endpoint_id", "operation_name", "service_tier", "error_type"}
    ),
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
    frozenset(_BOTH | {"user_id"}),
    timedelta(days=64),
    f"groupUniqArray({_MOST_CONVERSATIONS + 1})(c.conversation_id)",
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
    where, parameters = conditions(Filters(conversation_id=filters.conversation_id), None)
    [ends] = rows(
        client,
        "SELECT toUnixTimestamp64Micro(min(c.start_time)) AS oldest,"  # noqa: S608  closed tables only
        " toUnixTimestamp64Micro(max(c.start_time)) AS newest"
        f" FROM usage_entries AS c WHERE {where}",
        parameters,
    )
    oldest, newest = _moment(ends["oldest"]), _moment(ends["newest"])
    until = newest + MICROSECOND if stop is None else min(stop, newest + MICROSECOND)
    if until > ROLLUPS_END:
        yield f"c.start_time >= {at('far_us')}", {"far_us": microseconds(ROLLUPS_END)}
        until = ROLLUPS_END
    since = max(oldest, filters.start or EPOCH)
    if filters.conversation_id is not None:
        if since < until:
            yield _between(since, until)
        return
    source = _source(filters)
    piece: list[_Unit] = []
    promised = 0
    for unit in _units(client, source, filters, since, until):
        piece.append(unit)
        # How much of the unit that the page begins in comes later, nobody knows.
        if stop is None or unit.start + source.unit <= stop:
            promised += unit.calls
        if promised >= wanted:
            yield _bound(source, piece)
            piece, promised, wanted = [], 0, wanted * _MORE
    if piece:
        yield _bound(source, piece)


def _units(
    client: Client, source: _Source, filters: Filters, since: datetime, until: datetime
) -> Iterator[_Unit]:
    """Yield the units with calls of the filters, as far as the rollup knows these, newest first."""
    since, until = _floor(since, source.unit), _ceiling(until, source.unit)
    where, parameters = conditions(_known(source, filters), None)
    counted = next(
        (text for (name, value), text in _COUNTED.items() if getattr(filters, name) == value),
        "c.calls",
    )
    span = source.first_span
    while until > since:
        first = max(since, until - span) if until - since > span else since
        yield from (
            _Unit(_moment(row["unit"] * 1_000_000), row["counted"], tuple(row["conversations"]))
            for row in rows(
                client,
                f"SELECT toUnixTimestamp({source.start_of_unit}) AS unit,"  # noqa: S608  closed tables only
                f" toInt64(sum({counted})) AS counted, {source.conversations} AS conversations"
                f" FROM {source.view} AS c WHERE {where}"
                f" AND {source.time} >= {at('since_us')} AND {source.time} < {at('until_us')}"
                " GROUP BY unit HAVING counted > 0 ORDER BY unit DESC",
                {
                    **parameters,
                    "since_us": microseconds(first),
                    "until_us": microseconds(until),
                },
            )
        )
        until, span = first, span * _MORE


def _known(source: _Source, filters: Filters) -> Filters:
    """Return the filters without those the rollup cannot tell."""
    unknown: dict[str, Any] = {
        each.filter: None for each in DIMENSIONS if each.column not in source.columns
    }
    tags = filters.tags if "tags" in source.columns else ()
    return replace(filters, start=None, end=None, tags=tags, **unknown)


def _source(filters: Filters) -> _Source:
    if filters.user_id is None:
        return _OF_LEDGER if filters.tags else _BY_HOUR
    # The status and the like it counts, or promises too much.
    return _OF_USER if filters.columns() & _OF_LEDGER.columns <= _OF_USER.columns else _OF_LEDGER


def _between(since: datetime, until: datetime) -> Bound:
    return (
        f"c.start_time >= {at('piece_since_us')} AND c.start_time < {at('piece_until_us')}",
        {"piece_since_us": microseconds(since), "piece_until_us": microseconds(until)},
    )


def _bound(source: _Source, piece: list[_Unit]) -> Bound:
    text, parameters = _between(piece[-1].start, piece[0].start + source.unit)
    if source is not _OF_USER and len(piece) <= _MOST_HOURS:
        text += " AND toStartOfHour(c.start_time) IN {piece_hours:Array(DateTime)}"
        parameters["piece_hours"] = [int(each.start.timestamp()) for each in piece]
    named = {name for each in piece for name in each.conversations}
    if source is _OF_USER and len(named) <= _MOST_CONVERSATIONS:
        text += " AND c.conversation_id IN {piece_conversations:Array(String)}"
        parameters["piece_conversations"] = sorted(named)
    return text, parameters


def _moment(microseconds_since: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds_since)


def _floor(moment: datetime, unit: timedelta) -> datetime:
    return moment - (moment - EPOCH) % unit


def _ceiling(moment: datetime, unit: timedelta) -> datetime:
    return moment + (EPOCH - moment) % unit
