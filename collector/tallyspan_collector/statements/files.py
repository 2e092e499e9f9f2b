"""Statements as files: bytes by format, and files in a folder."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.atomic import whole_file
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.statements.pdf import check_usable, pdf
from tallyspan_collector.statements.statement import COLUMNS, Statement
from tallyspan_collector.summary import plain

_TYPES: Mapping[str, str] = {
    "version": "UInt32",
    "calls": "Nullable(Int64)",
    "input_tokens": "Nullable(Int64)",
    "output_tokens": "Nullable(Int64)",
    "cost_usd": "Decimal(38, 12)",
    "cost_in_currency": "Nullable(Decimal(38, 12))",
}


def csv(_: Client, statement: Statement) -> bytes:
    """Return the rows as CSV: exact amounts, nothing that a spreadsheet would run."""
    out = io.StringIO()
    write_rows(map(plain, statement.rows()), COLUMNS, out)
    return out.getvalue().encode()


def parquet(client: Client, statement: Statement) -> bytes:
    """Return the rows as Parquet, as the store writes it. Raises what the store raises."""
    content = "\n".join(json.dumps(plain(row)) for row in statement.rows())
    columns = [f"{name} {_TYPES.get(name, 'String')}" for name in COLUMNS]
    rows = ExternalData(
        file_name="statement", data=content.encode(), fmt="JSONEachRow", structure=columns
    )
    query = f"SELECT {', '.join(COLUMNS)} FROM statement"  # noqa: S608  own names
    return client.raw_query(query, fmt="Parquet", external_data=rows)


FORMATS: Mapping[str, Callable[[Client, Statement], bytes]] = {
    "pdf": lambda _, statement: pdf(statement),
    "csv": csv,
    "parquet": parquet,
}
"""Name and extension of a format -> its writer."""


def formats_of(text: str) -> tuple[str, ...]:
    """Return the formats of a list with commas. Raises `ConfigError`, also if one is not usable."""
    names = tuple(each.strip() for each in text.split(",") if each.strip())
    if not names or not set(names) <= set(FORMATS) or len(set(names)) < len(names):
        raise ConfigError(f"{text!r}: must be one or several of {', '.join(FORMATS)}")
    if "pdf" in names:
        check_usable()
    return names


def write(client: Client, statement: Statement, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a file for each format; return them. Each appears when it is complete.

    Raises `ConfigError` for a folder that cannot be written to.
    """
    paths = []
    for name in formats:
        content = FORMATS[name](client, statement)
        path = folder / statement.file_name(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        paths.append(path)
    return paths
