"""Users: who spends how much, and is it more than before."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    BEFORE,
    CALLS,
    CHANGE,
    COMPARED,
    KEY,
    LAST_CALL,
    NOT_PRICED,
    SHARE,
    TOKENS,
    UNPRICED,
    Column,
    bars_over_time,
    money,
    spend,
    stat,
    table,
)
from tallyspan_grafana.sql import common, people
from tallyspan_grafana.theme import DOLLARS, RATIO, TEXT, ZONE, thresholds


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("users", "Users", "Who spends how much on LLM calls.", zone)
        .choose_some()
        .row(
            4,
            (stat("Users", people.ACTIVE_USERS, f"Users with a call in the range. {source}"), 4),
            (
                money(
                    "Median user", people.MEDIAN_OF_USERS, f"Half of the users cost less. {about}"
                ),
                5,
            ),
            (
                money(
                    "90 % of users below",
                    people.NINETIETH_OF_USERS,
                    f"One user in ten costs more. {about}",
                ),
                5,
            ),
            (money("Largest user", people.MAX_OF_USERS, f"What the costliest spends. {about}"), 5),
            (
                money(
                    "Spend of no user",
                    people.NOBODY,
                    "Calls that name no user; the services that send them are under Data "
                    f"health. {about}",
                    colours=thresholds(orange_from=0.01),
                ),
                5,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Spend per day, by user",
                    common.per_day("user", zone),
                    f"The ten users that cost most, and all others. {about}",
                    label="user",
                ),
                24,
            ),
        )
        .row(
            16,
            (
                table(
                    "All users",
                    people.USERS,
                    f"{COMPARED} Top model: where most calls went. {about}",
                    [
                        Column("name", "User", TEXT, link="user:user"),
                        KEY,
                        spend(),
                        SHARE,
                        BEFORE,
                        CHANGE,
                        Column("conversations", "Conversations"),
                        CALLS,
                        TOKENS,
                        Column("per_conversation", "Per conversation", DOLLARS, 4, "-"),
                        Column("cache_hit", "From cache", RATIO, 1, "-"),
                        Column("top_model", "Top model", TEXT),
                        UNPRICED,
                        LAST_CALL,
                    ],
                ),
                24,
            ),
        )
    )
