"""The directory over HTTP: its people, the users it lacks, and an import."""

from collections.abc import Iterator, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client
from starlette.exceptions import HTTPException

from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.operation import Body, Operation, Query
from tallyspan_collector.api.parameters import Parameter, choice, text, whole_number
from tallyspan_collector.directory import file, stored
from tallyspan_collector.directory.lookup import today
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.summary import RequestError, parse_time, plain

MAX_ROWS = 10_000
_TEXT = {"type": ["string", "null"]}
_PERSON: Fields = {
    "user_id": Field("text", "as the calls say it"),
    "department": Field("text", "that pays for the calls of these days"),
    "cost_centre": Field("text", "for the books"),
    "display_name": Field("text", "what people are shown"),
    "valid_from": Field("day?", "first day; null: no bound"),
    "valid_to": Field("day?", "last day; null: no bound"),
    "tenant": Field("text", "organisation"),
}
_UNKNOWN: Fields = {
    "user_id": Field("text", "as the calls say it"),
    "tenant": Field("text", "organisation"),
    "why": Field("text", "why the directory has no department for it"),
    "calls": Field("integer", "calls since start_date"),
    "cost_usd": Field("usd?", "their cost in USD"),
    "first_day": Field("day", "day of the first of them (UTC)"),
    "last_day": Field("day", "day of the last of them (UTC)"),
}
_PEOPLE = Body(
    {
        "type": "object",
        "required": ["people"],
        "additionalProperties": False,
        "properties": {
            "people": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": dict.fromkeys(file.COLUMNS, _TEXT),
                    "required": ["user", "department"],
                    "additionalProperties": False,
                },
            }
        },
    }
)


def directory(client: Client) -> list[Operation]:
    """Return the operations; a key that is limited to departments may not change people."""

    def people(query: Query) -> Mapping[str, Any]:
        periods = stored.stored(client, query["user_id"])
        access = query.access
        shown = [each for each in periods if access.lets(each.department, each.tenant)]
        max_people = query["limit"]
        return {
            "people": list(stored.details(shown[:max_people])),
            "truncated": len(shown) > max_people,
        }

    def unknown(query: Query) -> Mapping[str, Any]:
        since = query["start_date"] or f"{today().replace(day=1)}"
        first = parse_time(since, "start_date").date()
        rows = stored.unknown(client, first, query["limit"], query.access)
        return {"people": [plain(row) for row in rows]}

    def put(query: Query) -> Mapping[str, Any]:
        if query.access.is_limited:
            raise HTTPException(403, "a key that is limited to departments cannot change people")
        is_dry = query["dry_run"] == "true"
        try:
            periods = file.periods(_rows(query.body))
        except ConfigError as error:
            raise RequestError(str(error)) from None
        changes = stored.changes(periods, stored.stored(client))
        if not is_dry:
            stored.write(client, changes, query.key_name, "api")
        rows = stored.details([each.period for each in changes])
        listed = [{"change": each.kind, **row} for each, row in zip(changes, rows, strict=True)]
        return {"changes": listed, "dry_run": is_dry}

    return [
        Operation(
            "/directory",
            "directory",
            "Everyone in the directory, or one; a limited key sees its departments.",
            people,
            {
                "people": rows_of("a row a span of days", _PERSON),
                "truncated": Field("flag", "whether there are more"),
            },
            (
                text("user_id", "only this one"),
                whole_number("limit", "rows at most", MAX_ROWS, MAX_ROWS),
            ),
            table="people",
        ),
        Operation(
            "/directory",
            "directory_put",
            "Take people. Each of them has these spans of days afterwards, and no others.",
            put,
            {
                "changes": rows_of(
                    "what changed",
                    {"change": Field("text", "added, changed or removed"), **_PERSON},
                ),
                "dry_run": Field("flag", "whether nothing was written"),
            },
            (choice("dry_run", "true: show, and write nothing", ("true", "false"), "false"),),
            body=_PEOPLE,
        ),
        Operation(
            "/directory/unknown",
            "directory_unknown",
            "Users with calls whom the directory does not have, the dearest first.",
            unknown,
            {"people": rows_of("a row a user", _UNKNOWN)},
            (
                Parameter("start_date", "calls since then; default: the first of the month (UTC)"),
                whole_number("limit", "rows at most", 1_000, MAX_ROWS),
            ),
            table="people",
        ),
    ]


def _rows(body: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    people = body.get("people") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(people, list):
        raise RequestError('the body must be {"people": [{"user": ..., "department": ...}]}')
    for number, row in enumerate(people):
        place = f"people[{number}]"
        if not isinstance(row, dict):
            raise RequestError(f"{place}: must be an object with user, department, ...")
        for name, value in row.items():
            if name not in file.COLUMNS:
                raise RequestError(f"{place}: unknown key {name!r}; {hint(name, file.COLUMNS)}")
            if value is not None and not isinstance(value, str):
                raise RequestError(f"{place}: {name}: must be text, not {value!r}")
        yield place, row
