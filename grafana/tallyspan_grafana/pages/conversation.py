"""One conversation: its calls in order, without their text, which nobody stores."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import KEY, NOT_PRICED, Column, stat, table, text
from tallyspan_grafana.sql import drill_down
from tallyspan_grafana.theme import COUNT, DOLLARS, SECONDS, TEXT, TIME, ZONE


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("conversation", "Conversation", "One conversation, call by call.", zone)
        .choose_one("conversation", drill_down.variable)
        .row(
            4,
            (text("Conversation", drill_down.NAME, f"Its id. {source}"), 6),
            (text("Users in it", drill_down.USERS, f"Whom its calls were made for. {source}"), 4),
            (
                stat(
                    "Spend of the conversation",
                    drill_down.SPEND,
                    f"All of its calls, whatever the range. {about}",
                    unit=DOLLARS,
                    decimals=6,
                    if_null="unpriced",
                ),
                5,
            ),
            (stat("Calls in it", drill_down.CALL_COUNT, f"Every call once. {source}"), 3),
            (
                stat(
                    "Tokens in it",
                    drill_down.TOKENS,
                    f"Prompt and answer. {source}",
                    if_null="unknown",
                ),
                3,
            ),
            (
                stat(
                    "Lasted",
                    drill_down.LASTED,
                    f"From the first call to the last. {source}",
                    unit=SECONDS,
                ),
                3,
            ),
        )
        .row(
            18,
            (
                table(
                    "Calls in order",
                    drill_down.calls_in_order,
                    "All of its calls, whatever the range. Input includes what came from the "
                    "cache, output the reasoning. "
                    f"No text of prompt or answer is stored. {source}",
                    [
                        Column("time", "Time", TIME, width=190, link="call:call"),
                        KEY,
                        Column("model", "Model", TEXT),
                        Column("operation", "Operation", TEXT),
                        Column("agent", "Agent", TEXT),
                        Column("input", "Input", COUNT, None, "unknown"),
                        Column("cached", "From cache", COUNT, None, "-"),
                        Column("output", "Output", COUNT, None, "unknown"),
                        Column("reasoning", "Reasoning", COUNT, None, "-"),
                        Column("counted_by", "Counted by", TEXT),
                        Column("cost", "Cost", DOLLARS, 6, "unpriced"),
                        Column("price", "Price from", TEXT),
                        Column("seconds", "Took", SECONDS, 1),
                        Column("result", "Result", TEXT),
                    ],
                ),
                24,
            ),
        )
    )
