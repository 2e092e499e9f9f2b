"""The schema's values -> the SQL of the baseline: ledger, rollups with their feeds, views.

Tables and views that are no sums of the ledger are SQL files in `objects/`. The text has the
placeholders of `rendering.py`.
"""

from collections.abc import Iterable, Sequence
from importlib import resources

from tallyspan_clickhouse.ddl_doubts import doubts
from tallyspan_clickhouse.ddl_parts import (
    FINE,
    MERGES,
    ONCE,
    ONE_FILE,
    OWNER,
    codec_of,
    comment_of,
    create_view,
    group_key,
    of_one_entry,
    of_several_entries,
)
from tallyspan_clickhouse.ddl_periods import budget_status, running
from tallyspan_clickhouse.schema import LEDGER, SCHEMA
from tallyspan_clickhouse.schema_types import (
    CONVERSATION_HASH,
    PART,
    Measure,
    Net,
    Rollup,
    RollupTable,
    Schema,
    SchemaError,
)

_ABOUT_ROLLUPS = """-- Rollups follow the entries by construction: each measure is a sum over signed entries, so
-- a reversal or a price change that reaches the ledger reaches them in the same insert."""
_TOTAL_TOKENS = (
    "if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0"
    " AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens)"
)
_INDICES = """    INDEX ix_conversation conversation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_trace toString(trace_id) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_batch batch_id TYPE minmax GRANULARITY 1,
    INDEX ix_kind entry_kind TYPE set(8) GRANULARITY 1,
    -- A condition on start_time is looked up as the fifth column of the key and not as the hour that
    -- is the second: without this index a query for a day reads its whole month.
    INDEX ix_time start_time TYPE minmax GRANULARITY 1,
    INDEX ix_user user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_tags mapValues(tags) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_response response_id TYPE bloom_filter(0.01) GRANULARITY 1"""


def baseline(schema: Schema = SCHEMA) -> str:
    """Return the text of the first migration: everything a new database has.

    Raises SchemaError if the views of the schema are not those that the SQL makes.
    """
    parts = [
        "-- Made of schema.py and objects/ by `python -m tallyspan_clickhouse.generate`.",
        "-- The ledger: one row an entry, append-only, every figure a sum().",
        _ledger(schema),
        objects("corrected_calls"),
        _calls(schema),
        _ABOUT_ROLLUPS,
        *(text for table in schema.tables for text in _sums(schema, table)),
        *(_rollup(schema, rollup) for rollup in schema.rollups),
        _usage_entries(schema),
        _call_meters(schema),
        *doubts(schema),
        _conversations(schema),
        _data_health(schema),
        *(objects(name) for name in ("claimed_costs", "directory", "settings")),
        running(),
        objects("budgets"),
        budget_status(),
        *(
            objects(name)
            for name in (
                "price_changes", "second_prices",
                "reconciliations", "imports", "bills", "months", "statements", "collectors", "api_keys", "api_audit", "removals",
            )
        ),
        _token_usage(schema),
    ]  # fmt: skip
    text = "\n\n".join(parts) + "\n"
    for view in schema.views:
        if f"CREATE VIEW {{database}}.{view.name} {{on_cluster}}" not in text:
            raise SchemaError(f"no SQL makes the view {view.name}: write it to objects/")
    return text


def objects(name: str) -> str:
    """Return the SQL of tables and views that are no sums of the ledger."""
    folder = resources.files("tallyspan_clickhouse") / "objects"
    return (folder / f"{name}.sql").read_text(encoding="utf-8").strip()


def _ledger(schema: Schema) -> str:
    columns = (
        f"    {each.name} {each.type}"
        f"{f' DEFAULT {each.default}' if each.default else ''}"
        f"{f' CODEC({each.codec})' if each.codec else ''}"
        f"{f' TTL {each.ttl}' if each.ttl else ''} {comment_of(each.comment)}"
        for each in schema.columns
    )
    return (
        f"CREATE TABLE {{database}}.{LEDGER} {{on_cluster}}\n(\n"
        + ",\n".join((*columns, _INDICES))
        + "\n)\nENGINE = {engine}\nPARTITION BY toYYYYMM(start_time)\n"
        "ORDER BY (tenant, toStartOfHour(start_time), model_name, user_id, start_time)\n"
        f"SETTINGS {ONCE},\n    {MERGES}, {ONE_FILE}, ttl_only_drop_parts = 1\n"
        "COMMENT 'Ledger of LLM calls: signed, append-only entries; every total is a sum()';"
    )


def _calls(schema: Schema) -> str:
    columns = schema.calls_view
    keys = ", ".join(f"l.{each.name}" for each in schema.columns if each.net is Net.KEY)
    one = ",\n    ".join(f"{of_one_entry(each)} AS {each.name}" for each in columns)
    several = ",\n    ".join(f"{of_several_entries(each)} AS {each.name}" for each in columns)
    join = (
        "JOIN {database}.corrected_calls{all} AS x\n"
        "    ON x.start_time = l.start_time AND x.call_hash = cityHash64(l.trace_id, l.span_id)"
    )
    return create_view(
        "calls",
        [(each.name, each.call_type, each.comment) for each in columns],
        f"SELECT\n    {one}\nFROM {{database}}.{LEDGER}{{all}} AS l\n"
        f"GLOBAL ANTI LEFT {join}\nWHERE l.entry_kind = 'call'\nUNION ALL\n"
        f"SELECT\n    {several}\nFROM {{database}}.{LEDGER}{{all}} AS l\n"
        f"GLOBAL SEMI LEFT {join}\nGROUP BY {keys}\nHAVING sum(l.sign) > 0",
        "One row a call, net of reversals and price changes; no content, nothing secret",
        "-- A call that no later entry speaks of is its own row; the few others are added up. A hash that\n"
        "-- two calls of the same microsecond share only sends both to the second half, which groups by\n"
        "-- the ids. Both halves have the same types, or a condition would reach no index through the\n"
        "-- conversion.\n",
    )


def _sums(schema: Schema, table: RollupTable) -> Iterable[str]:
    """Yield a table of sums and the view that fills it."""
    measures = schema.measures_of(table)
    keys = [group_key(schema, name) for name in table.columns]
    stored = [
        *(
            f"    {name} {kind}{codec_of(schema, name)} {comment_of(says)}"
            for name, kind, says, _ in keys
        ),
        *(
            f"    {each.name} {each.stored_type} CODEC({each.codec}) {comment_of(each.comment)}"
            for each in measures
        ),
    ]
    order = ", ".join(name if name in table.columns else "toDate(hour)" for name in table.key)
    yield (
        f"CREATE TABLE {{database}}.{table.name} {{on_cluster}}\n(\n" + ",\n".join(stored) + "\n)\n"
        f"ENGINE = {{replicated}}SummingMergeTree(({', '.join(each.name for each in measures)}))\n"
        f"PARTITION BY toYYYYMM({table.time})\nORDER BY ({order})\n"
        f"SETTINGS {ONCE},\n    {MERGES}, {FINE}\n"
        f"COMMENT 'Calls, tokens and cost by {table.about}; kept when raw entries expire';"
    )
    if table.fed_by:
        columns = [f"{_of_sums(schema, table, name)} AS {name}" for name in table.columns]
        columns += [f"{_sum_of_sums(schema, table, each)} AS {each.name}" for each in measures]
        rows = f"{{database}}.{table.fed_by} AS r"
        if table.parts:
            names = ", ".join(f"'{name}'" for name in table.parts)
            rows += f" ARRAY JOIN CAST([{names}], 'Array(LowCardinality(String))') AS {PART}"
    else:
        columns = [f"{text} AS {name}" for name, _, _, text in keys]
        columns += [f"{each.sum} AS {each.name}" for each in measures]
        rows = f"{{database}}.{LEDGER} AS l"
    yield (
        f"CREATE MATERIALIZED VIEW {{database}}.{table.feed} {{on_cluster}}"
        f" TO {{database}}.{table.name}\n{OWNER}\nAS SELECT\n    "
        + ",\n    ".join(columns)
        + f"\nFROM {rows}\nGROUP BY {', '.join(table.columns)}\n"
        f"COMMENT 'Adds every row of {table.fed_by or LEDGER} to {table.name}';"
    )


def _of_sums(schema: Schema, table: RollupTable, name: str) -> str:
    """Return the SQL of a key over a row `r` of the table that feeds another one."""
    if name == PART:
        return PART
    if name == "day":
        return "toDate(r.hour)"
    owners = [each.part for each in schema.rollups if each.table == table.name and name in each.key]
    if set(table.parts) <= set(owners):
        return f"r.{name}"
    # The other parts are not by this column.
    listed = ", ".join(f"'{part}'" for part in owners)
    empty = f"defaultValueOfTypeName('{group_key(schema, name)[1]}')"
    return f"if({PART} IN ({listed}), r.{name}, {empty})"


def _sum_of_sums(schema: Schema, table: RollupTable, measure: Measure) -> str:
    """Return the SQL of a measure over rows `r` of the table that feeds another one."""
    total = "sumMap" if measure.is_histogram else "sum"
    owners = [
        each.part
        for each in schema.rollups
        if each.table == table.name and (measure.is_everywhere or measure.name in each.more)
    ]
    if set(table.parts) <= set(owners):
        return f"{total}(r.{measure.name})"
    listed = ", ".join(f"'{part}'" for part in owners)
    return f"{total}If(r.{measure.name}, {PART} IN ({listed}))"


def _rollup(schema: Schema, rollup: Rollup) -> str:
    """Return the view of a rollup that people read."""
    keys = [group_key(schema, name) for name in rollup.key]
    shown = _shown(schema.measures_of(rollup))
    there = schema.table_of(rollup).columns
    return create_view(
        rollup.view,
        [(name, kind, says) for name, kind, says, _ in keys]
        + [(name, kind, says) for name, kind, says, _ in shown],
        "SELECT\n    "
        + ",\n    ".join(
            [
                f"{f'r.{name}' if name in there else 'toDate(r.hour)'} AS {name}"
                for name in rollup.key
            ]
            + [f"{text} AS {name}" for name, _, _, text in shown]
        )
        + f"\nFROM {{database}}.{rollup.table}{{all}} AS r"
        + (f"\nWHERE r.{PART} = '{rollup.part}'" if rollup.part else ""),
        f"Calls, tokens and cost by {rollup.about}; several rows a group, so always sum() them",
    )


def _shown(measures: Sequence[Measure]) -> list[tuple[str, str, str, str]]:
    """Return name, type, comment and SQL over a row `r` of measures as people read them."""
    shown = []
    for each in measures:
        text = each.view or f"r.{each.name}"
        shown.append(
            (each.name, each.view_type or each.type, each.view_comment or each.comment, text)
        )
        if each.name == "output_stated":
            shown.append(
                (
                    "total_tokens",
                    "Nullable(Int64)",
                    "input_tokens + output_tokens; NULL: unknown",
                    _TOTAL_TOKENS,
                )
            )
    return shown


def _usage_entries(schema: Schema) -> str:
    keys = [group_key(schema, each.name) for each in schema.usage_columns]
    if any(CONVERSATION_HASH in rollup.key for rollup in schema.rollups):
        keys.append(group_key(schema, CONVERSATION_HASH))
    time, tags = schema.by_name["start_time"], schema.by_name["tags"]
    columns = [(time.name, time.type, time.comment, "l.start_time"), *keys]
    entry = schema.by_name["entry_kind"]
    columns.append((entry.name, entry.type, entry.comment, "l.entry_kind"))
    columns.append((tags.name, tags.type, tags.comment, "l.tags"))
    for name, kind, says, _ in _shown(schema.measures):
        if name == "total_tokens":
            [total] = [each for each in schema.call_columns if each.name == name]
            text = total.one
        else:
            [measure] = [each for each in schema.measures if each.name == name]
            text = measure.entry_or_null or measure.entry
        columns.append((name, kind, says, text))
    return create_view(
        "usage_entries",
        [(name, kind, says) for name, kind, says, _ in columns],
        "SELECT\n    "
        + ",\n    ".join(f"{text} AS {name}" for name, _, _, text in columns)
        + f"\nFROM {{database}}.{LEDGER}{{all}} AS l",
        "The entries of the ledger in the columns of the rollups: for the ends of a range that are no"
        " whole days; always sum() them",
    )


def _call_meters(schema: Schema) -> str:
    counts = [
        each.name
        for each in schema.columns
        if each.net is Net.SUM and each.name.endswith("_tokens")
    ]
    names = ", ".join(f"'{name}'" for name in counts)
    amounts = ", ".join(f"toFloat64(c.{name})" for name in counts)
    return create_view(
        "call_meters",
        [
            *_of_calls(schema, _WHOSE),
            (
                "meter",
                "LowCardinality(String)",
                "What was used: input_tokens, web_search, seconds, ...",
            ),
            ("amount", "Float64", "How much of it: tokens, or units of the meter"),
        ],
        f"SELECT\n    {_selected(_WHOSE)},\n    m.1 AS meter,\n    assumeNotNull(m.2) AS amount\n"
        "FROM {database}.calls AS c\n"
        f"ARRAY JOIN arrayZip(\n    arrayConcat([{names}], mapKeys(c.meters)),\n"
        f"    arrayConcat([{amounts}], mapValues(c.meters))\n) AS m\n"
        "WHERE m.2 IS NOT NULL",
        "One row a call and meter, net: the counts that have a column and those in the map meters;"
        " what nobody stated has no row",
    )


_WHOSE = (
    "start_time", "log_id", "user_id", "department", "agent_id", "conversation_id", "model_name",
    "endpoint_id", "provider_name", "service_name", "source", "tenant", "operation_name",
    "service_tier", "trace_id", "span_id",
)  # fmt: skip
"""Columns of `calls` by which the rows of its meters and doubts are grouped and filtered."""


def _of_calls(schema: Schema, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return name, type and comment of columns of the view `calls`."""
    columns = {each.name: each for each in schema.calls_view}
    return [(name, columns[name].call_type, columns[name].comment) for name in names]


def _selected(names: Sequence[str]) -> str:
    return ",\n    ".join(f"c.{name} AS {name}" for name in names)


def _conversations(schema: Schema) -> str:
    names = (
        "calls", "errors", "input_tokens", "input_stated", "output_tokens", "output_stated",
        "cost_usd", "notional_cost_usd", "unpriced_calls",
    )  # fmt: skip
    measures = [each for each in schema.measures if each.name in names]
    lists = (
        ("users", "Array(String)", "Whom its calls were made for", "user_id"),
        (
            "departments",
            "Array(LowCardinality(String))",
            "Departments that pay for it",
            "department",
        ),
        ("agents", "Array(String)", "Agents that took part", "agent_id"),
        ("models", "Array(LowCardinality(String))", "Models that were used", "model_name"),
    )
    shown = [each for each in _shown(measures) if not each[0].endswith("_stated")]
    inner = ",\n        ".join(
        [
            "l.conversation_id AS conversation_id",
            "l.tenant AS tenant",
            *(
                f"arraySort(groupUniqArrayIf(l.{c}, l.{c} != '')) AS {name}"
                for name, _, _, c in lists
            ),
            "min(l.start_time) AS first_call",
            "max(l.start_time) AS last_call",
            *(f"{each.sum} AS {each.name}" for each in measures),
        ]
    )
    plain = ["conversation_id", "tenant", *(name for name, *_ in lists), "first_call", "last_call"]
    return create_view(
        "conversations",
        [
            ("conversation_id", "String", "Conversation, chat or session"),
            ("tenant", "LowCardinality(String)", "Organisation it belongs to"),
            *((name, kind, says) for name, kind, says, _ in lists),
            ("first_call", "DateTime64(6, 'UTC')", "When its first call began (UTC)"),
            ("last_call", "DateTime64(6, 'UTC')", "When its last call began (UTC)"),
            *((name, kind, says) for name, kind, says, _ in shown),
        ],
        "SELECT\n    "
        + ",\n    ".join(
            [f"r.{name} AS {name}" for name in plain]
            + [f"{text} AS {name}" for name, _, _, text in shown]
        )
        + f"\nFROM (\n    SELECT\n        {inner}\n    FROM {{database}}.{LEDGER}{{all}} AS l\n"
        "    WHERE l.conversation_id != ''\n    GROUP BY l.tenant, l.conversation_id\n"
        "    HAVING sum(l.sign) > 0\n) AS r",
        "One row a conversation, net; name a conversation_id, all of them is a read of the whole ledger",
    )


def _data_health(schema: Schema) -> str:
    keys = [
        group_key(schema, name)
        for name in ("hour", "tenant", "source", "service_name", "provider_name", "model_name")
    ]
    names = (
        "calls", "errors", "estimated_calls", "unknown_usage_calls", "unpriced_calls",
        "unpriced_tokens", "flagged_calls", "reversals", "price_changes",
    )  # fmt: skip
    measures = [each for each in schema.measures if each.name in names]
    grouped = ", ".join(f"r.{name}" for name, *_ in keys)
    return create_view(
        "data_health",
        [(name, kind, says) for name, kind, says, _ in keys]
        + [(each.name, each.type, each.comment) for each in measures],
        "SELECT\n    "
        + ",\n    ".join(
            [f"r.{name} AS {name}" for name, *_ in keys]
            + [f"sum(r.{each.name}) AS {each.name}" for each in measures]
        )
        + f"\nFROM {{database}}.rollup_hourly{{all}} AS r\nGROUP BY {grouped}",
        "How far the figures can be trusted, by hour, source, service and model",
    )


def _token_usage(schema: Schema) -> str:
    fields = schema.call_fields
    columns: list[tuple[str, str, str, str]] = []
    for name in schema.token_usage:
        column = fields[name]
        kind = column.call_type.replace("LowCardinality(String)", "String")
        columns.append((name, kind, column.comment, f"c.{column.name}"))
        if name == "user_id":
            says = "Name people know the user by, from the directory; empty: it has none"
            columns.append(("display_name", "String", says, "n.display_name"))
    return create_view(
        "token_usage",
        [(name, kind, says) for name, kind, says, _ in columns],
        "SELECT\n    "
        + ",\n    ".join(f"{text} AS {name}" for name, _, _, text in columns)
        + "\nFROM {database}.calls AS c\n"
        "ANY LEFT JOIN {database}.user_names AS n ON n.tenant = c.tenant AND n.user_id = c.user_id",
        "One row a call, net: who, which model, how many tokens, what it cost",
    )
