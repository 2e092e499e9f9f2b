"""SQL of what is doubtful about single calls: the table of such entries, and the views over it.

Such entries are few and lie in all parts of the ledger: to look for them there is to read it.
"""

from collections.abc import Iterable

from tallyspan_clickhouse.ddl_parts import (
    FINE,
    MERGES,
    ONCE,
    OWNER,
    codec_of,
    comment_of,
    create_view,
    of_several_entries,
)
from tallyspan_clickhouse.schema import DOUBTFUL, FEEDS, LEDGER, OF_NO_CALL
from tallyspan_clickhouse.schema_types import CallColumn, Column, Net, Schema

_FIRST = ("tenant", "entry_kind", "start_time")
_FLAGS = ("unread", "quality_flags", "price_flags")
_KEYS = (
    *_FIRST, "trace_id", "span_id", "user_id", "department", "agent_id", "conversation_id",
    "model_name", "endpoint_id", "provider_name", "service_name", "source", "operation_name",
    "service_tier", "sign", "is_notional", "ingested_at", *_FLAGS,
)  # fmt: skip
_SUMS = ("input_tokens", "output_tokens", "cost_usd", "other_cost_usd")
_OF_CALL = (
    "start_time", "log_id", "tenant", "trace_id", "span_id", "user_id", "department", "agent_id",
    "source", "service_name", "provider_name", "endpoint_id", "model_name", "service_tier",
    "total_tokens",
)  # fmt: skip
"""Columns of `calls` that its doubts have as well."""
_COSTS = ("cost_usd", "other_cost_usd")
_HASH = "cityHash64({0}.trace_id, {0}.span_id)"
_DOUBTED = "(" + " OR ".join(f"notEmpty({{0}}.{name})" for name in _FLAGS) + ")"
_KIND = ("kind", "LowCardinality(String)",
         "unread: a place in the usage that no rule reads; price: a price flag; quality: a quality flag")  # fmt: skip
_SETTING = ("setting", "String",
            "Line of models_pricing.yaml that decides it, with what to fill in in capitals; empty: no line can")  # fmt: skip
_DECIDED = """if(each.1 = 'price' AND each.2 = c.price_flags[1], c.other_cost_usd, NULL) AS other_cost_usd,
    multiIf(
        each.1 != 'price', '',
        endsWith(each.2, '_unknown'),
            concat('conditions: [', place, ', set: {', replaceRegexpOne(each.2, '_unknown$', ''), ': VALUE}}]'),
        each.2 = 'tier_assumed',
            concat('prices: [', place_and_model, ', service_tier: ', yaml(c.service_tier), ', unit: 1M tokens, input: USD, output: USD}]'),
        each.2 = 'condition_assumed',
            concat('factors: [', place_and_model, ', CONDITION: VALUE, times: FACTOR}]'),
        each.2 = 'unpriced_meter',
            concat('fees: [', place, ', METER: USD}]'),
        ''
    ) AS setting"""
_PLACES = """WITH
    text -> if(match(text, '^[A-Za-z][A-Za-z0-9._/-]*$'), text, concat('\\'', replaceAll(text, '\\'', '\\'\\''), '\\'')) AS yaml,
    concat('{provider: ', yaml(c.provider_name), if(c.endpoint_id = '', '', concat(', endpoint: ', yaml(c.endpoint_id)))) AS place,
    concat(place, ', model: ', yaml(c.model_name)) AS place_and_model
"""


def doubts(schema: Schema) -> Iterable[str]:
    """Yield the table, the materialized view that fills it, and the views people read."""
    yield _table(schema)
    yield _feed()
    yield _call_doubts(schema)
    yield _call_price_doubts(schema)


def _fields(schema: Schema) -> dict[str, Column | CallColumn]:
    return {each.name: each for each in schema.calls_view}


def _table(schema: Schema) -> str:
    columns = [
        (name, schema.by_name[name].type, codec_of(schema, name), schema.by_name[name].comment)
        for name in (*_KEYS, *_SUMS)
    ]
    columns.insert(
        len(_FIRST),
        ("call_hash", "UInt64", " CODEC(ZSTD(1))", "cityHash64(trace_id, span_id) of the call"),
    )
    columns.append(("entries", "Int64", " CODEC(ZSTD(1))", "Entries of the ledger that are so"))
    stored = ",\n".join(
        f"    {name} {kind}{codec} {comment_of(says)}" for name, kind, codec, says in columns
    )
    order = ", ".join((*_FIRST, "call_hash", *_KEYS[len(_FIRST) :]))
    return (
        f"CREATE TABLE {{database}}.{DOUBTFUL} {{on_cluster}}\n(\n{stored}\n)\n"
        f"ENGINE = {{replicated}}SummingMergeTree(({', '.join((*_SUMS, 'entries'))}))\n"
        f"PARTITION BY toYYYYMM(start_time)\nPRIMARY KEY ({', '.join(_FIRST)})\nORDER BY ({order})\n"
        f"SETTINGS {ONCE},\n    {MERGES}, {FINE}, ttl_only_drop_parts = 1\n"
        f"{comment_of('Entries with a flag, or with usage that no rule reads, and all corrections')};"
    )


def _feed() -> str:
    columns = [f"l.{name} AS {name}" for name in (*_KEYS, *_SUMS)]
    columns += [f"{_HASH.format('l')} AS call_hash", "toInt64(1) AS entries"]
    selected = ",\n    ".join(columns)
    says = f"Adds every doubtful entry of {LEDGER}, and every correction, to {DOUBTFUL}"
    return (
        f"CREATE MATERIALIZED VIEW {{database}}.{FEEDS[DOUBTFUL]} {{on_cluster}}"
        f" TO {{database}}.{DOUBTFUL}\n{OWNER}\nAS SELECT\n    {selected}\n"
        f"FROM {{database}}.{LEDGER} AS l\n"
        f"WHERE l.entry_kind NOT IN {('call', *OF_NO_CALL)} OR {_DOUBTED.format('l')}\n{comment_of(says)};"
    )


def _call_doubts(schema: Schema) -> str:
    fields = _fields(schema)
    names = (*_OF_CALL, *_COSTS, *_FLAGS)
    several = ",\n        ".join(f"{of_several_entries(fields[name])} AS {name}" for name in names)
    grouped = ", ".join(f"l.{each.name}" for each in schema.columns if each.net is Net.KEY)
    entry = ", ".join(f"{{0}}.{name} AS {name}" for name in (*_KEYS, *_SUMS))
    # the key of the ledger, so that few granules are read, and then the call
    place = (
        "{0}.tenant, toStartOfHour({0}.start_time), {0}.model_name, {0}.user_id, {0}.start_time,"
        f" {_HASH}"
    )
    entries = f"{{database}}.{DOUBTFUL}{{all}}"
    shown = [(name, fields[name].call_type, fields[name].comment) for name in _OF_CALL]
    doubt = ("doubt", "LowCardinality(String)",
             "The path of what is unread, or the name of the flag")  # fmt: skip
    selected = ",\n    ".join(f"c.{name} AS {name}" for name in _OF_CALL)
    return create_view(
        "call_doubts",
        [*shown, _KIND, doubt, *_money(fields), _SETTING],
        f"{_PLACES}SELECT\n    {selected},\n"
        "    toLowCardinality(each.1) AS kind,\n    toLowCardinality(each.2) AS doubt,\n"
        f"    c.cost_usd AS cost_usd,\n    {_DECIDED}\nFROM (\n    SELECT\n        {several}\n"
        f"    FROM (\n        SELECT {entry.format('d')}\n        FROM {entries} AS d\n"
        "        WHERE d.entries > 0 AND d.call_hash GLOBAL IN (\n"
        f"            SELECT f.call_hash FROM {entries} AS f WHERE {_DOUBTED.format('f')}\n"
        f"        )\n        UNION ALL\n        SELECT {entry.format('e')}\n"
        f"        FROM {{database}}.{LEDGER}{{all}} AS e\n"
        f"        WHERE e.entry_kind = 'call' AND NOT {_DOUBTED.format('e')}"
        f" AND ({place.format('e')}) GLOBAL IN (\n            SELECT {place.format('p')}"
        f" FROM {entries} AS p\n"
        f"            WHERE p.entry_kind = 'price_change' AND {_DOUBTED.format('p')}"
        " AND (p.start_time, p.call_hash) GLOBAL NOT IN (\n"
        f"                SELECT f.start_time, f.call_hash FROM {entries} AS f WHERE f.entry_kind = 'call'\n"
        "            )\n        )\n    ) AS l\n"
        f"    GROUP BY {grouped}\n    HAVING sum(l.sign) > 0\n) AS c\n"
        "ARRAY JOIN arrayConcat(\n"
        "    arrayMap(path -> ('unread', toString(path)), c.unread),\n"
        "    arrayMap(flag -> ('quality', toString(flag)), c.quality_flags),\n"
        "    arrayMap(flag -> ('price', toString(flag)), c.price_flags)\n) AS each",
        "One row a call and doubt, net; a call with several has its cost in several rows, so add up"
        " one doubt at a time",
        "-- All that is doubtful about single calls, by kind. The other cost is about the first price\n"
        "-- flag of a call. A flag named x_unknown is about the condition x. A call that got its first\n"
        "-- flag with a later price has its first entry in the ledger alone.\n",
    )


def _money(fields: dict[str, Column | CallColumn]) -> list[tuple[str, str, str]]:
    other = (
        "What the call costs if the doubt is decided the other way, in USD; NULL: nobody can tell"
    )
    cost = "Billed cost of the call in USD, as booked; NULL: not priced"
    return [
        (name, fields[name].call_type, says)
        for name, says in zip(_COSTS, (cost, other), strict=True)
    ]


def _call_price_doubts(schema: Schema) -> str:
    fields = _fields(schema)
    shown = [(name, fields[name].call_type, fields[name].comment) for name in _OF_CALL]
    doubt = ("doubt", "LowCardinality(String)",
             "Price flag: deployment_unknown, tier_assumed, ...")  # fmt: skip
    columns = [*shown, doubt, *_money(fields), _SETTING]
    selected = ",\n    ".join(f"d.{name} AS {name}" for name, _, _ in columns)
    return create_view(
        "call_price_doubts",
        columns,
        f"SELECT\n    {selected}\nFROM {{database}}.call_doubts AS d\nWHERE d.kind = 'price'",
        "One row a call and price flag, net: what is undecided, the money both ways, the line that"
        " decides it",
        "-- Prices that nobody has decided.\n",
    )
