"""Spools of workers that are not there any more: what waits in them goes to the first worker's.

`--workers 4` leaves four files; with `--workers 2` after it nobody would read two of them.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tallyspan_collector.ingest import journal, tries
from tallyspan_collector.ingest.spool import COPIED, open_spool


def left_spools(folder: Path, workers: int) -> Iterator[Path]:
    """Yield the spool files of workers above so many."""
    for path in sorted(folder.glob("[0-9]*.sqlite")):
        if path.stem.isdigit() and int(path.stem) >= workers:
            yield path


def take_over(left: Path, spool: Path, journal_path: Path) -> int:
    """Move requests and batches that wait in the file `left` to those of `spool`.

    Returns how many requests. Nobody may use either file. How often a request was in work when a
    process died goes with it. A crash on the way leaves requests in both: the second time their
    spans are duplicates. Raises `SpoolError`, `sqlite3.Error`.
    """
    with closing(open_spool(left)) as old, closing(open_spool(spool)) as file:
        of, to = (
            int(each.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0])
            for each in (old, file)
        )
        file.execute("ATTACH ? AS old", (str(left),))
        file.execute("BEGIN IMMEDIATE")
        booked = journal.hand_over(journal_path, of, to)
        moved = file.execute(
            f"INSERT INTO requests (received_ms, {COPIED})"  # noqa: S608  own text
            f" SELECT received_ms, {COPIED} FROM old.requests WHERE id > ? ORDER BY id",
            (booked,),
        ).rowcount
        (last,) = file.execute("SELECT ifnull(max(id), 0) FROM requests").fetchone()
        numbers = [
            number
            for (number,) in old.execute(
                "SELECT id FROM requests WHERE id > ? ORDER BY id", (booked,)
            )
        ]
        file.execute("COMMIT")
        tries.hand_over(
            (left.with_suffix(".tries"), of),
            (spool.with_suffix(".tries"), to),
            dict(zip(numbers, range(last - moved + 1, last + 1), strict=True)),
        )
        file.execute("DETACH old")
        old.execute("DELETE FROM requests")
    return moved
