"""One user: what for, on which models, in which conversations."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    CALLS,
    KEY,
    LAST_CALL,
    NOT_PRICED,
    TOKENS,
    UNPRICED,
    Column,
    bars_over_time,
    money,
    spend,
    stat,
    table,
    text,
)
from tallyspan_grafana.sql import common, people
from tallyspan_grafana.theme import COUNT, DOLLARS, RATIO, TEXT, ZONE, thresholds


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("user", "User", "What one user's LLM calls cost.", zone)
        .choose_one("user", people.user_variable)
        .row(
            4,
            (text("User", people.USER_NAME, f"Whom the calls were made for. {source}"), 4),
            (
                text("Department", people.USER_DEPARTMENTS, f"Who paid for them. {source}"),
                4,
            ),
            (
                money(
                    "Spend of the user",
                    common.Figure(common.SPENT, "spend", people.OF_USER),
                    f"In the range above. {about}",
                ),
                4,
            ),
            (
                stat(
                    "Conversations",
                    common.Figure(common.CONVERSATIONS, "conversations", people.OF_USER),
                    f"Conversations with a call in the range. {source}",
                ),
                3,
            ),
            (
                stat(
                    "Calls of the user",
                    common.Figure(common.COUNT, "calls", people.OF_USER),
                    f"Every call once. {source}",
                ),
                3,
            ),
            (
                stat(
                    "From cache",
                    common.Figure(common.CACHE_HIT, "cache_hit", people.OF_USER),
                    f"Part of the prompt tokens that the provider read from its cache. {source}",
                    unit=RATIO,
                    decimals=1,
                    if_null="unknown",
                ),
                3,
            ),
            (
                stat(
                    "Unpriced calls of the user",
                    common.Figure(common.UNPRICED, "unpriced", people.OF_USER),
                    f"No price or no token count: not in the spend. {source}",
                    colours=thresholds(orange_from=1),
                ),
                3,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Spend per day of the user, by model",
                    common.per_day("model", zone, "user"),
                    f"The ten models that cost most, and all others. {about}",
                    label="model",
                ),
                14,
            ),
            (
                table(
                    "Agents of the user",
                    common.ranking("agent", "user"),
                    f"The dearest first. {about}",
                    [Column("name", "Agent", TEXT), KEY, CALLS, TOKENS, spend(), UNPRICED],
                ),
                10,
            ),
        )
        .row(
            14,
            (
                table(
                    "Conversations of the user",
                    people.user_conversations,
                    f"Those with calls in the range, the dearest first; days of UTC. {about}",
                    [
                        Column("name", "Conversation", TEXT, link="conversation:conversation"),
                        KEY,
                        Column("first_call", "First call", TEXT, if_null="-", width=110),
                        LAST_CALL,
                        Column("calls", "Calls", COUNT),
                        TOKENS,
                        Column("spend", "Spend", DOLLARS, 4, "unpriced", is_bar=True),
                        UNPRICED,
                    ],
                ),
                24,
            ),
        )
    )
