"""Departments: what each of them pays for."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    BEFORE,
    CALLS,
    CHANGE,
    COMPARED,
    KEY,
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
from tallyspan_grafana.sql import common, overview, people
from tallyspan_grafana.theme import DOLLARS, TEXT, ZONE, thresholds


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("departments", "Departments", "What each department's LLM calls cost.", zone)
        .choose_some()
        .row(
            4,
            (money("Spend of all departments", overview.SPEND, f"In the range above. {about}"), 8),
            (
                stat(
                    "Departments with calls",
                    people.DEPARTMENT_COUNT,
                    f"Departments named by a call in the range. {source}",
                ),
                8,
            ),
            (
                money(
                    "Spend of no department",
                    people.NO_DEPARTMENT,
                    f"Calls that name no department. {about}",
                    colours=thresholds(orange_from=0.01),
                ),
                8,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Spend per day, by department",
                    common.per_day("department", zone),
                    f"The ten that cost most, and all others. {about}",
                    label="department",
                ),
                24,
            ),
        )
        .row(
            10,
            (
                table(
                    "All departments",
                    people.DEPARTMENTS,
                    f"{COMPARED} A department opens its users. {about}",
                    [
                        Column("name", "Department", TEXT, link="users:department"),
                        KEY,
                        spend(),
                        SHARE,
                        BEFORE,
                        CHANGE,
                        Column("users", "Users"),
                        CALLS,
                        TOKENS,
                        Column("per_user", "Per user", DOLLARS, 4, "-"),
                        UNPRICED,
                    ],
                ),
                24,
            ),
        )
        .row(
            10,
            (
                table(
                    "Departments and models",
                    people.departments_by_model,
                    f"The dearest first. {about}",
                    [
                        Column("name", "Department", TEXT),
                        Column("model", "Model", TEXT),
                        CALLS,
                        TOKENS,
                        spend(is_bar=True),
                        UNPRICED,
                    ],
                ),
                24,
            ),
        )
    )
