"""Who asks: a key, and for a user of an application the headers that the application fills in."""

from base64 import b64decode
from dataclasses import dataclass

from starlette.datastructures import Headers

from tallyspan_clickhouse.query.access import Access
from tallyspan_collector.access.keys import Key
from tallyspan_collector.api.parameters import check_text
from tallyspan_collector.booked.imports import label_of
from tallyspan_collector.librechat.chat_headers import CONVERSATION, MESSAGE, PLACEHOLDERS, USER
from tallyspan_collector.summary import RequestError
from tallyspan_collector.summary.person import Person

_BASE64 = "b64:"
_NOT_YET = {"new", "null", "undefined", "00000000-0000-0000-0000-000000000000"}
"""What LibreChat has in place of an id until the first message is stored."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A checked key, what it may see, and the headers of its request.

    The key is trusted to speak for the users of its own application: of the calls that the ingest
    key with its name sends, and of what is imported under that name.
    """

    key: Key
    access: Access
    headers: Headers

    def person(self) -> Person:
        """Return the user whom the application speaks for. Raises RequestError for none."""
        key = self.key
        return Person(
            self._header(USER), (key.source, label_of(key.source)), key.tenant, self.access
        )

    def conversation(self) -> str:
        """Return the id of the conversation. Raises RequestError if there is none yet."""
        return self._header(CONVERSATION)

    def message(self) -> str:
        """Return the id of the answer that is being written. Raises RequestError for none."""
        return self._header(MESSAGE)

    def question(self, tool: str) -> str:
        """Return what the audit keeps of a question: the tool and for whom."""
        names = (("user", USER), ("conversation", CONVERSATION), ("message", MESSAGE))
        texts = [f"{name}={self.headers[each]}" for name, each in names if each in self.headers]
        return "&".join((f"tool={tool}", *texts))

    def _header(self, name: str) -> str:
        values = self.headers.getlist(name)
        text = values[0].strip() if len(values) == 1 else ""
        where = f"header {name} of the mcpServers entry"
        if len(values) > 1:
            raise RequestError(f"{where}: it was sent {len(values)} times; it must be there once")
        if not text:
            raise RequestError(
                f"{where}: it is {'empty' if values else 'missing'}; librechat.yaml must have"
                f" {name}: '{PLACEHOLDERS[name]}'"
            )
        if "{{" in text or "}}" in text:
            # Without its text: a user chooses the id of the conversation, LibreChat puts variables
            # of its environment into it, and this sentence goes back to the user.
            raise RequestError(
                f"{where}: the application did not fill it in; its version does not know the"
                f" placeholder, or it is misspelt: it must be {PLACEHOLDERS[name]}"
            )
        if text.lower() in _NOT_YET:
            raise RequestError(
                f"{where}: it is {text[:40]!r}, there is no id yet; ask again after a first answer"
            )
        decoded = _decoded(text)
        check_text(name, decoded)
        return decoded


def _decoded(text: str) -> str:
    """Return the text of a header, which is decoded as Latin-1, as the application meant it.

    LibreChat sends Latin-1 as it is, and other letters as `b64:` and base64 of UTF-8
    (packages/api/src/utils/env.ts); other applications send UTF-8.
    """
    try:
        if text.startswith(_BASE64):
            return b64decode(text.removeprefix(_BASE64), validate=True).decode()
        return text.encode("latin-1").decode()
    except ValueError:
        return text
