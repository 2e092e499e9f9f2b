"""A tool of the chat: what it takes, what it answers, and which keys have it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from tallyspan_collector.api.chat.identity import Asker
from tallyspan_collector.api.fields import Fields, object_schema
from tallyspan_collector.api.parameters import Parameter, read_query
from tallyspan_collector.summary import RequestError


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in words, the same as values that JSON can carry, and how many rows it has."""

    text: str
    values: Mapping[str, Any]
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool for keys of one role.

    `ask` takes who asks and the checked arguments; it waits for the store, and raises RequestError
    or HTTPException with a sentence for the person who asks.
    """

    name: str
    role: str
    says: str
    ask: Callable[[Asker, Mapping[str, Any]], Answer]
    answers: Fields
    parameters: tuple[Parameter, ...] = ()

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments."""
        properties = {
            each.name: {**each.schema, "description": each.says} for each in self.parameters
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the values."""
        return object_schema(self.answers)

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return name -> value of all parameters. Raises RequestError, also for other arguments."""
        texts = [
            (name, _text(name, value)) for name, value in arguments.items() if value is not None
        ]
        return read_query(QueryParams(texts), self.parameters)


def _text(name: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool() | int():
            return json.dumps(value)
        case _:
            raise RequestError(f"{name[:60]!r} must be text or a whole number")
