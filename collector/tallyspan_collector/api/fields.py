"""Fields of answers; the OpenAPI document and the header of the CSV are derived from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AMOUNT = r"^-?[0-9]+(\.[0-9]{1,12})?$"
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)$"
_TEXT: dict[str, Any] = {"type": "string"}
KINDS: Mapping[str, dict[str, Any]] = {
    "text": _TEXT,
    "texts": {"type": "array", "items": _TEXT},
    "count": {"type": "integer", "minimum": 0},
    "integer": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "usd": {"type": "string", "pattern": AMOUNT, "description": "exact decimal, USD"},
    "amount": {"type": "string", "pattern": AMOUNT, "description": "exact decimal"},
    "time": {"type": "string", "pattern": MOMENT},
    "day": {"type": "string", "format": "date"},
    "map": {"type": "object", "additionalProperties": _TEXT},
    "amounts": {"type": "object", "additionalProperties": {"type": "number"}},
}
"""Kind of a field -> JSON Schema; a kind that ends in `?` may be null too."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an answer: one of KINDS, or a list of rows, or one record, with their fields."""

    kind: str
    says: str
    rows: "Mapping[str, Field] | None" = None
    is_optional: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the field."""
        if self.rows is not None:
            inner = object_schema(self.rows)
            schema: dict[str, Any] = {"type": "array", "items": inner}
            schema = schema if self.kind == "rows" else inner
        else:
            schema = dict(KINDS[self.kind.removesuffix("?")])
        if self.kind.endswith("?"):
            schema["type"] = [schema["type"], "null"]
        return schema | {"description": self.says}


Fields = Mapping[str, Field]
_STARTS = (
    ("Map", "map"), ("Array", "texts"), ("Bool", "flag"), ("Date", "time"), ("Decimal", "usd"),
    ("Int", "count"), ("UInt", "count"),
)  # fmt: skip


def kind_of(column_type: str) -> str:
    """Return the kind of a column of the store."""
    inner = column_type.removeprefix("Nullable(")
    kind = next((kind for start, kind in _STARTS if inner.startswith(start)), "text")
    return f"{kind}?" if inner != column_type else kind


def object_schema(fields: Fields) -> dict[str, Any]:
    """Return the JSON Schema of an object with these fields; a name with `^` is a pattern."""
    return {
        "type": "object",
        "properties": {n: each.schema() for n, each in fields.items() if n[0] != "^"},
        "patternProperties": {n: each.schema() for n, each in fields.items() if n[0] == "^"},
        "required": [name for name, each in fields.items() if not each.is_optional],
        "additionalProperties": False,
    }


def rows_of(says: str, fields: Fields) -> Field:
    """Return the field of a list of rows."""
    return Field("rows", says, fields)


def record_of(says: str, fields: Fields) -> Field:
    """Return the field of one object."""
    return Field("record", says, fields)
