"""What the parts of the baseline share: settings of tables, and the text of columns and views."""

from collections.abc import Iterable

from tallyspan_clickhouse.schema_types import (
    CONVERSATION_HASH,
    PART,
    CallColumn,
    Column,
    Net,
    Schema,
)

ONCE = "non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000"
# Columns are merged one by one where parts are large. The parts that inserts make have all columns
# in one file, and to read that once for each column takes three times the CPU.
MERGES = "vertical_merge_algorithm_min_rows_to_activate = 1000000"
# So a part of the ledger below that size is one file: what an insert and a merge write is synced
# file by file.
ONE_FILE = "min_rows_for_wide_part = 1000000"
# Both ends of each range and each tenant read a granule that is not all theirs.
FINE = "index_granularity = 2048"
OWNER = "DEFINER = CURRENT_USER SQL SECURITY DEFINER"
WORKED_OUT = {
    "day": ("Date", "Day of start_time (UTC)", "toDate(l.start_time)"),
    "hour": ("DateTime('UTC')", "Hour of start_time (UTC)", "toStartOfHour(l.start_time)"),
    CONVERSATION_HASH: (
        "UInt64",
        "cityHash64 of conversation_id: conversations are counted by it",
        "cityHash64(l.conversation_id)",
    ),
    PART: ("LowCardinality(String)", "Rollup that the row is of", ""),
}
"""What rollups group by beside columns of the ledger: type, comment, and SQL over an entry `l`."""


def of_one_entry(column: Column | CallColumn) -> str:
    """Return the SQL of a column of the view `calls`, over the only entry `l` of a call."""
    if isinstance(column, CallColumn):
        return column.one
    return f"toString(l.{column.name})" if column.type.startswith("Fixed") else f"l.{column.name}"


def of_several_entries(column: Column | CallColumn) -> str:
    """Return the same over all entries `l` of a call, of the very type that one entry has."""
    if isinstance(column, CallColumn):
        text = column.several
        return f"toLowCardinality({text})" if column.type.startswith("LowCard") else text
    match column.net:
        case Net.LATEST:
            text = f"argMaxIf(l.{column.name}, l.ingested_at, l.sign >= 0)"
            if column.type.startswith("LowCardinality"):
                return f"toLowCardinality({text})"
            return f"CAST({text}, '{column.type}')" if "LowCardinality" in column.type else text
        case Net.SUM:
            return f"sum(l.{column.name})"
        case _:
            return of_one_entry(column)


def group_key(schema: Schema, name: str) -> tuple[str, str, str, str]:
    """Return name, type, comment and SQL over an entry of a column that rollups group by."""
    if name in WORKED_OUT:
        kind, says, text = WORKED_OUT[name]
        return name, kind, says, text
    column = schema.by_name[name]
    return name, column.type, column.usage_comment or column.comment, column.usage_sql


def codec_of(schema: Schema, name: str) -> str:
    """Return the CODEC of a column of the ledger, with a space before it; empty: the default."""
    codec = "" if name in WORKED_OUT else schema.by_name[name].codec
    return f" CODEC({codec})" if codec else ""


def create_view(
    name: str, columns: Iterable[tuple[str, str, str]], select: str, says: str, why: str = ""
) -> str:
    """Return the statement of a view: its columns (name, type, comment), what it is, and why."""
    described = ",\n".join(
        f"    {column} {kind} {comment_of(text)}" for column, kind, text in columns
    )
    return (
        f"{why}CREATE VIEW {{database}}.{name} {{on_cluster}}\n(\n{described}\n)\n{OWNER}\n"
        f"AS {select}\n{comment_of(says)};"
    )


def comment_of(text: str) -> str:
    """Return a COMMENT of a column, a table or a view."""
    return "COMMENT '" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
