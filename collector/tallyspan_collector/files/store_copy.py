"""What was read of the store last, in a file for a start while the store is away."""

from pathlib import Path

from tallyspan_collector.files.atomic import PRIVATE, whole_file


class StoreCopy:
    """The copy at `path`, for its owner only; None: there is none.

    A disk that does not take it is no reason not to use what was read: the copy is tried again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._due: bytes | None = None
        self.last_error = ""
        """Why the file is not what was read last; empty: it is."""

    @property
    def is_there(self) -> bool:
        """Whether there is a file."""
        return self._path is not None and self._path.is_file()

    def read(self) -> str:
        """Return the text of the file. Raises `OSError`, and `ValueError` if it is no text."""
        if self._path is None:
            raise FileNotFoundError
        return self._path.read_text()

    def keep(self, text: str) -> None:
        """Let the file have this text, now or as soon as the disk takes it."""
        self._due = text.encode()
        self.try_again()

    def try_again(self) -> None:
        """Write what the disk did not take yet, if there is anything."""
        if self._path is None or self._due is None:
            return
        try:
            if not self.is_there or self._path.read_bytes() != self._due:
                with whole_file(self._path, PRIVATE) as file:
                    file.write(self._due)
        except OSError as error:
            self.last_error = (
                f"{self._path} cannot be written ({error.strerror}): a start while the store is"
                " away would use what was in the store before"
            )
        else:
            self._due, self.last_error = None, ""
