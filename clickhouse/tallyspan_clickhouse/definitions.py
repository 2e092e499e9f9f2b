"""The definitions of the local store's tables, mended before its engine reads them.

On a full disk the engine answers that a CREATE or an ALTER succeeded, leaves an empty `.sql` or
half of one, and with that file it never starts again. So they are copied while they are whole.
"""

import json
import logging
from pathlib import Path

from tallyspan_clickhouse import ledger_lock, schema_lock
from tallyspan_clickhouse.data_directory import private_file

ESCAPE = "surrogateescape"
"""A comment of a table may be no UTF-8; it is put back byte for byte."""
log = logging.getLogger("tallyspan.store")


class Definitions:
    """The `.sql` files below `data/metadata`, and the file with a copy of each."""

    def __init__(self, data: Path, copy: Path) -> None:
        self._metadata = data / "metadata"
        self._copy = copy
        self._copied: dict[str, tuple[int, int]] = {}

    def mend(self) -> None:
        """Put back what is broken as it was copied last; without a copy remove it."""
        copies = self._copies()
        for path in self._files():
            if _is_whole(path.read_bytes()):
                continue
            text = copies.get(self._name(path))
            if text is None:
                path.unlink()
                log.warning("%s was never written to its end: removed", path)
            else:
                private_file(path, text, errors=ESCAPE)
                log.warning("%s was not written to its end: put back as it was before", path)

    def keep(self) -> None:
        """Copy the definitions if one has changed; on a full disk the copies before stay."""
        try:
            self._keep()
        except OSError as error:  # the next minute is early enough
            log.warning("the definitions of tables cannot be copied: %s", error)

    def _keep(self) -> None:
        files = self._files()
        seen = {self._name(path): _version(path) for path in files}
        if seen == self._copied:
            return
        copies = self._copies()
        texts = {self._name(path): path.read_bytes() for path in files}
        whole = {name: _text(text) for name, text in texts.items() if _is_whole(text)}
        broken = {name: copies[name] for name in texts if name not in whole and name in copies}
        private_file(self._copy, json.dumps(whole | broken))
        self._copied = seen

    def drop_locks(self) -> None:
        """Remove locks that a process has left: nobody else has the folder now."""
        for name in (schema_lock.LOCK, ledger_lock.LOCK):
            for path in self._metadata.glob(f"*/{name}*.sql"):
                path.unlink()
                log.warning("%s was left by a process that ended: removed", path)

    def _files(self) -> list[Path]:
        return [*self._metadata.glob("*.sql"), *self._metadata.glob("*/*.sql")]

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._metadata))

    def _copies(self) -> dict[str, str]:
        try:
            copies: dict[str, str] = json.loads(self._copy.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read, and is written anew: %s", self._copy, error)
            return {}
        return copies


def _text(content: bytes) -> str:
    return content.decode(errors=ESCAPE)


def _is_whole(text: bytes) -> bool:
    """Return whether the engine wrote the file to its end, which is a newline."""
    return text.endswith(b"\n")


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
