"""The tools of an admin: questions of the admin API, within what the key may see."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from tallyspan_collector.api.answer import json_text
from tallyspan_collector.api.chat.identity import Asker
from tallyspan_collector.api.chat.tool import Answer, Tool
from tallyspan_collector.api.fields import Field
from tallyspan_collector.api.operation import LIMITED, Operation, Query
from tallyspan_collector.api.parameters import whole_number

ROLE = "admin"
MAX_ROWS = 50
ROWS = whole_number("limit", "rows", 10, MAX_ROWS)
# Of the lists of the API only what one answer in a chat can hold: no pages.
_PAGED = {"next_cursor", "truncated"}
_TOOLS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "cost_summary": (
        "token_usage_summary",
        ("group_by", "start_date", "end_date", "time_zone", "order", "direction", "user_id",
         "department", "agent_id", "model", "limit"),
        "What calls cost, by user, department, agent, model, endpoint, provider, day, month ...",
    ),
    "top_spenders": (
        "users",
        ("start_date", "end_date", "time_zone", "department", "limit"),
        "The users whose calls cost most in a period, with departments and models.",
    ),
    "unpriced_calls": (
        "prices_missing",
        ("start_date", "time_zone"),
        "What calls wait for a price of, and why. For calls of unknown usage ask cost_summary.",
    ),
    "budget_state": ("budgets", (), "Every budget of today: spent, left, forecast, state."),
}  # fmt: skip
"""Tool -> operation of the admin API, which of its parameters it takes, what it says of itself."""


def admin_tools(operations: Sequence[Operation]) -> list[Tool]:
    """Return the tools, made of the operations of the admin API."""
    by_name = {each.name: each for each in operations}
    return [
        _tool(name, by_name[operation], parameters, says)
        for name, (operation, parameters, says) in _TOOLS.items()
    ]


def _tool(name: str, operation: Operation, parameters: tuple[str, ...], says: str) -> Tool:
    taken = {each.name: each for each in operation.parameters if each.name in parameters}
    if "limit" in taken:
        taken["limit"] = ROWS
    table = operation.table

    def ask(asker: Asker, arguments: Mapping[str, Any]) -> Answer:
        if operation.is_for_all and asker.access.is_limited:
            raise HTTPException(403, LIMITED)
        defaults = {each.name: each.value([]) for each in operation.parameters}
        query = Query({**defaults, **arguments}, asker.access, asker.key.name)
        answer = operation.ask(query)
        rows = answer[table]
        values = {each: value for each, value in answer.items() if each not in _PAGED}
        values |= {table: rows[:MAX_ROWS], "has_more": _has_more(answer, rows)}
        return Answer(json_text(values).decode(), values, len(values[table]))

    answers = {each: field for each, field in operation.answers.items() if each not in _PAGED}
    more = Field("flag", "whether there are more rows; the admin API and the console have them all")
    return Tool(name, ROLE, says, ask, {**answers, "has_more": more}, tuple(taken.values()))


def _has_more(answer: Mapping[str, Any], rows: Sequence[Any]) -> bool:
    return bool(answer.get("next_cursor")) or len(rows) > MAX_ROWS
