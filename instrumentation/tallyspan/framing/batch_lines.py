"""The results of a batch: a file of lines, a JSON object each, whatever its content type is.

Any file may be read at the path of such a file. So the first bytes decide: what does not begin as
an object is not looked at.
"""

from tallyspan.framing import Framing, Interest
from tallyspan.framing.lines import json_lines


class BatchLines:
    """Cuts a file into its lines; nothing of a file that holds no JSON objects."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self._lines = json_lines(interest)
        self._has_begun = False
        self._is_other = False

    @property
    def is_cut(self) -> bool:
        """Whether a line was too large to be read."""
        return self._lines.is_cut and not self._is_other

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines of interest that they complete."""
        if not self._has_begun and (start := chunk.lstrip()):
            self._has_begun = True
            self._is_other = not start.startswith(b"{")
        return [] if self._is_other else self._lines.feed(chunk)

    def end(self) -> list[bytes]:
        """Return the last line, if it is whole though no border ended it."""
        lines = [] if self._is_other else self._lines.end()
        return [line for line in lines if line.rstrip().endswith(b"}")]

    def anew(self) -> Framing:
        """Return a new one."""
        return BatchLines(self._interest)
