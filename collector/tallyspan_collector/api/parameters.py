"""Parameters of requests, declared once: requests are checked and documented by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams

from tallyspan_collector.files.nearest import nearest
from tallyspan_collector.summary import RequestError

MAX_CHARACTERS = 1_024
Read = Callable[[str, str], Any]
"""Name and text -> value; raises RequestError."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: `read` turns name and text into its value, `schema` is its JSON Schema.

    It may be in a request up to `max_times`; above 1 its value is a tuple.
    """

    name: str
    says: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    read: Read = lambda _, text: text
    default: str | None = None
    max_times: int = 1
    is_in_path: bool = False

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value of the texts of a request, None for no text. Raises RequestError."""
        if len(texts) > self.max_times:
            often = "once only" if self.max_times == 1 else f"{self.max_times} times at most"
            raise RequestError(f"{self.name} may be given {often}")
        for text in texts:
            check_text(self.name, text)
        if self.max_times > 1:
            return tuple(self.read(self.name, text) for text in texts)
        value = texts[0] if texts else self.default
        return None if value is None else self.read(self.name, value)


def check_text(name: str, text: str) -> None:
    """Raise RequestError for a text that can be no name and no id."""
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"{name} must have {MAX_CHARACTERS} characters at most, not {len(text)}")
    if "\0" in text:
        raise RequestError(f"{name} must not contain a NUL character")


def read_query(query: QueryParams, declared: Sequence[Parameter]) -> dict[str, Any]:
    """Return name -> value of all declared parameters.

    Raises RequestError for one that is not declared, is there too often, or has a wrong value.
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
    """Return a parameter of any text, compared exactly; empty: calls without a value."""
    return Parameter(name, says, {"type": "string", "maxLength": MAX_CHARACTERS})


def in_path(name: str, says: str) -> Parameter:
    """Return a parameter that is a part of the path."""
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}
    return Parameter(name, says, schema, is_in_path=True)


def choice(name: str, says: str, values: Sequence[str], default: str | None = None) -> Parameter:
    """Return a parameter that takes one of these values."""

    def read(name: str, text: str) -> str:
        if text not in values:
            raise RequestError(f"{name} must be one of {', '.join(values)}, not {text[:60]!r}")
        return text

    schema: dict[str, Any] = {"type": "string", "enum": list(values)}
    return Parameter(name, says, schema, read, default)


def whole_number(name: str, says: str, default: int, maximum: int) -> Parameter:
    """Return a parameter that takes a number from 1 to `maximum`."""

    def read(name: str, text: str) -> int:
        # Six digits at most: int() of a long text takes long.
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0  # noqa: PLR2004
        if not 1 <= number <= maximum:
            raise RequestError(
                f"{name} must be a whole number from 1 to {maximum}, not {text[:60]!r}"
            )
        return number

    schema = {"type": "integer", "minimum": 1, "maximum": maximum}
    return Parameter(name, says, schema, read, str(default))
