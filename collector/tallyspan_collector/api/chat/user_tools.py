"""The tools of a user: what this conversation, this message and a month cost, of the own calls."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_collector.api.chat import words
from tallyspan_collector.api.chat.identity import Asker
from tallyspan_collector.api.chat.tool import Answer, Tool
from tallyspan_collector.api.conversations import ANSWERED
from tallyspan_collector.api.fields import Field, Fields, rows_of
from tallyspan_collector.api.parameters import Parameter, choice
from tallyspan_collector.summary import RequestError, Row, plain
from tallyspan_collector.summary.person import OwnCalls

ROLE = "chat"
MAX_ROWS = 20
MESSAGES = 5
CURRENCY = "USD"
_LATER = (
    "A call is booked some seconds after it ends, so the answer being written is not all in it."
)
_SUMS: Fields = {
    **ANSWERED,
    "first_call": Field("time?", "when the first of the calls began; null: there is none"),
    "last_call": Field("time?", "when the last of them began; null: there is none"),
    "unknown_usage_calls": Field("count", "unpriced calls whose usage the provider did not report"),
    "estimated_calls": Field("count", "calls whose tokens are estimated"),
}
_ANSWER: Fields = {"currency": Field("text", "currency of every amount: USD"), **_SUMS}
_MORE = Field("count", "how many further groups there are")


def _groups(says: str) -> Field:
    return rows_of(says, {"name": Field("text", "name of the group; empty: unknown"), **_SUMS})


def _month(name: str, text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", text, re.ASCII):
        raise RequestError(f"{name} must be a month such as 2026-03, not {text[:20]!r}")
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise RequestError(f"{name}: there is no month {text}") from None


MONTH = Parameter(
    "month",
    "month in UTC, such as 2026-03; default: this month",
    {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
    _month,
)
BY = choice("by", "what the month is split by", ("model", "agent", "day"), "model")


def user_tools(client: Client) -> list[Tool]:
    """Return the tools; each answers for the user of the request alone."""

    def conversation(asker: Asker, _: Mapping[str, Any]) -> Answer:
        calls = OwnCalls(asker.person(), asker.conversation())
        total = calls.total(client)
        if not total["calls"]:
            raise RequestError(
                "this conversation is not known: no call of it that was made for you is booked."
                " After a first answer that takes some seconds"
            )
        models, more = calls.by(client, "model", "cost", MAX_ROWS)
        text = words.joined(
            f"This conversation has cost {words.amount(total['cost_usd'], total['calls'])} since"
            f" {total['first_call']:%Y-%m-%d %H:%M} UTC.",
            words.listed("model", models, more),
            words.left_out(total),
            _LATER,
        )
        head = {"conversation_id": asker.conversation()}
        return _answer(text, total, head, {"by_model": models}, more)

    def message(asker: Asker, _: Mapping[str, Any]) -> Answer:
        person, current = asker.person(), asker.message()
        conversation_id = asker.conversation()
        total = OwnCalls(person, conversation_id, current).total(client)
        newest, more = OwnCalls(person, conversation_id).by(client, "message", "newest", MESSAGES)
        before = [row for row in newest if row["name"] not in {current, ""}]
        if not total["calls"] and not before:
            raise RequestError(
                "this message is not known: no call of it that was made for you is booked."
                " After a first answer that takes some seconds"
            )
        so_far = words.amount(total["cost_usd"], total["calls"])
        text = words.joined(
            f"The answer being written has cost {so_far} so far."
            if total["calls"]
            else "No call of the answer being written is booked yet.",
            words.left_out(total),
            f"The answer before it cost {words.amount(before[0]['cost_usd'], before[0]['calls'])}."
            if before
            else "",
            words.left_out(before[0]) if before else "",
            _LATER,
        )
        head = {"conversation_id": conversation_id, "message_id": current}
        return _answer(text, total, head, {"messages_before": before}, more)

    def month(asker: Asker, arguments: Mapping[str, Any]) -> Answer:
        first: date = arguments["month"] or datetime.now(UTC).date().replace(day=1)
        by = arguments["by"]
        start = datetime(first.year, first.month, 1, tzinfo=UTC)
        end = (start + timedelta(days=31)).replace(day=1)
        calls = OwnCalls(asker.person(), start=start, end=end)
        total = calls.total(client)
        groups, more = calls.by(client, by, "name" if by == "day" else "cost", 31)
        spent = words.amount(total["cost_usd"], total["calls"])
        text = words.joined(
            f"Your calls of {first:%Y-%m} (UTC) have cost {spent}."
            if total["calls"]
            else f"No call that was made for you in {first:%Y-%m} (UTC) is booked.",
            words.listed(by, groups, more),
            words.left_out(total),
        )
        head = {"month": f"{first:%Y-%m}", "by": by}
        return _answer(text, total, head, {"groups": groups}, more)

    conversation_id = Field("text", "the conversation")
    return [
        Tool(
            "conversation_cost",
            ROLE,
            "What this conversation has cost the user so far, by model. For questions such as: what"
            " did this chat cost?",
            conversation,
            {"conversation_id": conversation_id, **_ANSWER, "by_model": _groups("by model"),
             "more": _MORE},
        ),
        Tool(
            "message_cost",
            ROLE,
            "What the answer being written has cost so far, and what the answers before it in this"
            " conversation cost. For questions such as: what did the last answer cost?",
            message,
            {"conversation_id": conversation_id, "message_id": Field("text", "the answer"),
             **_ANSWER, "messages_before": _groups("answers before it, the newest first"),
             "more": _MORE},
        ),
        Tool(
            "month_cost",
            ROLE,
            "What all conversations of the user cost in a month, by model, agent or day. For"
            " questions such as: what have I spent this month?",
            month,
            {"month": Field("text", "the month (UTC)"), "by": Field("text", "model, agent or day"),
             **_ANSWER, "groups": _groups("by what was asked for"), "more": _MORE},
            (MONTH, BY),
        ),
    ]  # fmt: skip


def _answer(
    text: str,
    total: Row,
    head: Mapping[str, Any],
    groups: Mapping[str, Sequence[Row]],
    more: int,
) -> Answer:
    values = {
        **head,
        "currency": CURRENCY,
        **plain(total),
        **{name: [plain(row) for row in each] for name, each in groups.items()},
        "more": more,
    }
    return Answer(text, values, 1 + sum(map(len, groups.values())))
