"""Parameters of requests, declared once: the document and what is refused are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams

from tallyspan_collector.files.nearest import nearest
from tallyspan_collector.summary import RequestError

MOST_CHARACTERS = 1_024
Read = Callable[[str, str], Any]
"""Name and text -> value; raises RequestError."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What may be asked: `read` takes name and text, `schema` says the same in JSON Schema.

    `most` is how often it may be given; the value is then a tuple.
    """

    name: str
    says: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    read: Read = lambda _, text: text
    default: str | None = None
    most: int = 1
    is_in_path: bool = False

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value of what was given, None for nothing. Raises RequestError."""
        if len(texts) > self.most:
            often = "once only" if self.most == 1 else f"{self.most} times at most"
            raise RequestError(f"{self.name} may be given {often}")
        for text in texts:
            check_text(self.name, text)
        if self.most > 1:
            return tuple(self.read(self.name, text) for text in texts)
        given = texts[0] if texts else self.default
        return None if given is None else self.read(self.name, given)


def check_text(name: str, text: str) -> None:
    """Raise RequestError for what no name and no id is."""
    if len(text) > MOST_CHARACTERS:
        raise RequestError(
            f"{name} must have {MOST_CHARACTERS} characters at most, not {len(text)}"
        )
    if "\0" in text:
        raise RequestError(f"{name} must not contain a NUL character")


def read_query(query: QueryParams, declared: Sequence[Parameter]) -> dict[str, Any]:
    """Return name -> value of everything declared.

    Raises RequestError for what is not declared, given too often, or not as declared.
    """
    names = [each.name for each in declared]
    for name, _ in query.multi_items():
        if name not in names:
            match = nearest(name, names)
            hint = f"did you mean {match}? " if match else ""
            allowed = f"allowed are {', '.join(names)}" if names else "none is allowed here"
            raise RequestError(f"unknown parameter {name[:60]!r}: {hint}{allowed}")
    return {each.name: each.value(query.getlist(each.name)) for each in declared}


def text(name: str, says: str) -> Parameter:
    """Return a parameter that is compared as it is; empty: where nobody said."""
    return Parameter(name, says, {"type": "string", "maxLength": MOST_CHARACTERS})


def in_path(name: str, says: str) -> Parameter:
    """Return a parameter that is a part of the path."""
    schema = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}
    return Parameter(name, says, schema, is_in_path=True)


def choice(name: str, says: str, values: Sequence[str], default: str | None = None) -> Parameter:
    """Return a parameter that takes one of these values."""

    def read(name: str, text: str) -> str:
        if text not in values:
            raise RequestError(f"{name} must be one of {', '.join(values)}, not {text[:60]!r}")
        return text

    schema: dict[str, Any] = {"type": "string", "enum": list(values)}
    return Parameter(name, says, schema, read, default)


def whole_number(name: str, says: str, default: int, most: int) -> Parameter:
    """Return a parameter that takes a number from 1 to `most`."""

    def read(name: str, text: str) -> int:
        # Six digits: int() of a text of any length is work for whoever sends it.
        found = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0  # noqa: PLR2004
        if not 1 <= found <= most:
            raise RequestError(f"{name} must be a whole number from 1 to {most}, not {text[:60]!r}")
        return found

    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Parameter(name, says, schema, read, str(default))
