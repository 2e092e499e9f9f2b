"""Agents: what an assistant costs, and a conversation with it."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    BEFORE,
    CALLS,
    CHANGE,
    COMPARED,
    KEY,
    NOT_PRICED,
    SHARE,
    UNPRICED,
    Column,
    bars_over_time,
    money,
    spend,
    stat,
    table,
)
from tallyspan_grafana.sql import common, models, people
from tallyspan_grafana.theme import DOLLARS, SECONDS, TEXT, ZONE


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("agents", "Agents", "What agents and assistants cost.", zone)
        .choose_some()
        .row(
            4,
            (
                stat(
                    "Agents with calls",
                    people.AGENT_COUNT,
                    f"Agents named by a call in the range. {source}",
                ),
                12,
            ),
            (
                money(
                    "Spend per conversation",
                    people.PER_CONVERSATION,
                    f"Over the calls that belong to a conversation. {about}",
                    if_null="no conversations",
                ),
                12,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Spend per day, by agent",
                    common.per_day("agent", zone),
                    f"The ten that cost most, and all others. {about}",
                    label="agent",
                ),
                24,
            ),
        )
        .row(
            10,
            (
                table(
                    "All agents",
                    people.AGENTS,
                    f"{COMPARED} {about}",
                    [
                        Column("name", "Agent", TEXT),
                        KEY,
                        Column("called", "Name", TEXT, if_null="-"),
                        spend(),
                        SHARE,
                        BEFORE,
                        CHANGE,
                        Column("users", "Users"),
                        Column("conversations", "Conversations"),
                        CALLS,
                        Column("per_conversation", "Per conversation", DOLLARS, 4, "-"),
                        Column("errors", "Failed calls"),
                        Column("p95", "95 % within", SECONDS, 1),
                        UNPRICED,
                    ],
                ),
                24,
            ),
        )
        .row(
            9,
            (_by("Services", "service", about), 12),
            (_by("Operations", "operation", about), 12),
        )
    )


def _by(title: str, dimension: str, about: str) -> object:
    return table(
        title,
        models.by(dimension),
        f"The dearest first. {about}",
        [
            Column("name", title.removesuffix("s"), TEXT),
            CALLS,
            Column("errors", "Failed calls"),
            Column("tokens", "Tokens", if_null="unknown"),
            spend(is_bar=True),
            UNPRICED,
        ],
    )
