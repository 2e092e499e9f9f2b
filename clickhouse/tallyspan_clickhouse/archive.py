"""Months of the ledger -> Parquet files, read back and compared before anything is dropped.

A month is first moved into a table of its own, which is atomic: what arrives late is booked beside
it and is in the next archive of that month. A run that was broken off goes on where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tallyspan_clickhouse import removals
from tallyspan_clickhouse.answers import one_number
from tallyspan_clickhouse.durable import sync_folder
from tallyspan_clickhouse.engine import one_line
from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.local_engine import extension_path
from tallyspan_clickhouse.schema import DOUBTFUL, LEDGER

MOVED = "llm_calls_archiving"
MANIFEST = "archive.jsonl"
"""In the archive's folder, a line of JSON for each file: month, file, SHA-256, count and sums."""
_FIGURES = (
    "count() AS entries, toInt64(sum(sign)) AS calls, toInt64(sum(input_tokens)) AS input_tokens,"
    " toInt64(sum(output_tokens)) AS output_tokens, toString(sum(cost_usd)) AS cost_usd,"
    " toString(sum(cityHash64(toString(trace_id), toString(span_id), toString(entry_kind),"
    " toInt64(sign), toString(user_id), toString(department),"
    " toUnixTimestamp64Micro(start_time)))) AS identities"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a month adds up to; `identities` is a sum of hashes of who, when and what."""

    entries: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    identities: str


@dataclass(frozen=True, slots=True)
class Archived:
    """A file of the archive. `month` is YYYYMM; `is_kept`: the rows are in the ledger as well."""

    month: int
    file: str
    sha256: str
    figures: Figures
    is_kept: bool


def months(client: Client, before: date) -> list[int]:
    """Return the months (YYYYMM) that end before the day, those of a broken run first."""
    limit = before.year * 100 + before.month
    numbers: list[int] = []
    for table in (MOVED, LEDGER):
        rows = client.query(
            "SELECT DISTINCT toUInt32(partition) FROM system.parts WHERE active AND rows > 0"
            " AND database = currentDatabase() AND table = {table:String} ORDER BY 1",
            parameters={"table": table},
        ).result_rows
        numbers += [int(month) for (month,) in rows if month < limit or table == MOVED]
    return list(dict.fromkeys(numbers))


def archive(client: Client, month: int, folder: Path, *, is_kept: bool = False) -> Archived:
    """Write the month to a file, read it back, compare, and drop the rows unless they are kept.

    Raises StoreError if the file says anything else than the ledger; the rows are then back.
    """
    table = LEDGER if is_kept else _move(client, month)
    source = f"{table} WHERE toYYYYMM(start_time) = {month}"
    try:
        wanted = _figures(client, source)
        done = _finished(folder, month, wanted)
        if done is None or is_kept:
            done = _export(client, source, month, folder, wanted, is_kept=is_kept)
    except BaseException:
        if not is_kept:
            _run(client, f"ALTER TABLE {MOVED} MOVE PARTITION {month} TO TABLE {LEDGER}")
        raise
    if not is_kept:
        _forget_doubts(client, month)
        _run(client, f"ALTER TABLE {MOVED} DROP PARTITION {month}")
    return done


def _forget_doubts(client: Client, month: int) -> None:
    """Take away the doubtful entries of a month that the ledger does not have any more."""
    of_month = f"toYYYYMM(start_time) = {month}"
    ids = "start_time, trace_id, span_id"
    there = f"SELECT {ids} FROM {LEDGER} WHERE {of_month}"  # noqa: S608  own names and a number
    gone = f"{of_month} AND ({ids}) NOT IN ({there})"
    _run(client, f"DELETE FROM {DOUBTFUL} WHERE {gone}")  # noqa: S608  own names


def _export(
    client: Client, source: str, month: int, folder: Path, wanted: Figures, *, is_kept: bool
) -> Archived:
    path = _place(folder, month)
    draft = folder / f".{path.name}.part"
    digest = _write(client, source, draft)
    figures = read_back(draft)
    if figures != wanted:
        draft.unlink()
        raise StoreError(f"{path}: has {figures}, the ledger {wanted}; nothing was dropped")
    done = Archived(month, path.name, digest, wanted, is_kept)
    draft.replace(path)
    _note(folder, done)
    sync_folder(folder)  # both names, before the rows go
    return done


def _finished(folder: Path, month: int, wanted: Figures) -> Archived | None:
    """Return the file a broken run has written already of what is still to be dropped."""
    for each in manifest(folder):
        if each.month == month and each.figures == wanted and not each.is_kept:
            path = folder / each.file
            if path.is_file() and read_back(path) == wanted:
                return each
    return None


def finish(client: Client) -> None:
    """Remove the table of months on their way, once it is empty."""
    there = one_number(client, f"EXISTS TABLE {MOVED}")
    if there and not one_number(client, f"SELECT count() FROM {MOVED}"):  # noqa: S608  own name
        _run(client, f"DROP TABLE {MOVED} SYNC")


def read_back(path: Path) -> Figures:
    """Return what the file adds up to, read by an engine of this process. Raises StoreError."""
    if extension_path() is None:
        raise StoreError(
            "files are read back by chdb-core, which is not installed:"
            " pip install 'tallyspan[local]'"
        )
    with (
        TemporaryDirectory() as scratch,
        clickhouse_connect.get_client(interface="chdb", path=scratch) as reader,
    ):
        return _figures(reader, f"file('{_quoted(path)}', 'Parquet')")


def manifest(folder: Path) -> Iterator[Archived]:
    """Yield the files of an archive as they are now. Raises StoreError for a line that is none."""
    path = folder / MANIFEST
    if path.is_file():
        latest = {each.file: each for each in _lines(path)}
        yield from latest.values()


def _lines(path: Path) -> Iterator[Archived]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            fields = json.loads(line)
            fields.pop("archived_at", None)
            yield Archived(**fields | {"figures": Figures(**fields["figures"])})
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{path}:{number}: is no line of an archive") from None


def _move(client: Client, month: int) -> str:
    if not one_number(client, f"EXISTS TABLE {MOVED}"):
        _run(client, f"CREATE TABLE IF NOT EXISTS {MOVED} AS {LEDGER}")
        # What expires on the way would be missing in the file. Kept for ever, it has no TTL.
        with suppress(ClickHouseError):
            client.command(f"ALTER TABLE {MOVED} REMOVE TTL")
    waiting = one_number(
        client,
        f"SELECT count() FROM {MOVED} WHERE toYYYYMM(start_time) = {month}",  # noqa: S608  own name
    )
    if not waiting:
        removals.note_month(client, month)  # first: the rollups of a day are compared at any time
        _run(client, f"ALTER TABLE {LEDGER} MOVE PARTITION {month} TO TABLE {MOVED}")
    return MOVED


def _figures(client: Client, source: str) -> Figures:
    try:
        [row] = client.query(f"SELECT {_FIGURES} FROM {source}").named_results()  # noqa: S608
    except ClickHouseError as error:
        raise StoreError(f"adding up {source}: {one_line(error)}") from error
    return Figures(**row)


def _write(client: Client, source: str, path: Path) -> str:
    digest = hashlib.sha256()
    settings = {"output_format_parquet_compression_method": "zstd"}
    try:
        query = f"SELECT * FROM {source}"  # noqa: S608  own names and a number
        stream = client.raw_stream(query, fmt="Parquet", settings=settings)
        with path.open("wb") as file:
            for chunk in stream:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    except ClickHouseError as error:
        raise StoreError(f"writing {path}: {one_line(error)}") from error
    return digest.hexdigest()


def _place(folder: Path, month: int) -> Path:
    """Return a name that is free; what was kept in the ledger as well is written anew."""
    listed = {each.file: each for each in manifest(folder) if each.month == month}
    name = f"{LEDGER}-{month // 100}-{month % 100:02d}"
    number = 1
    while True:
        file = f"{name}.{number}.parquet" if number > 1 else f"{name}.parquet"
        # A file that is in no list was never finished.
        if file not in listed or listed[file].is_kept:
            return folder / file
        number += 1


def _note(folder: Path, done: Archived) -> None:
    line = asdict(done) | {"archived_at": datetime.now(UTC).isoformat(timespec="seconds")}
    with (folder / MANIFEST).open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _run(client: Client, statement: str) -> None:
    try:
        client.command(statement)
    except ClickHouseError as error:
        raise StoreError(f"{statement}: {one_line(error)}") from error


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("\\", "\\\\").replace("'", "\\'")
