"""Budgets: what may be spent, what is spent of it, and where that leads."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import KEY, NOT_PRICED, UNPRICED, Column, lines, stat, table
from tallyspan_grafana.sql import budgets
from tallyspan_grafana.theme import COUNT, DOLLARS, RATIO, TEXT, thresholds

NONE = "no budget: tallyspan budgets set"
USED = thresholds(orange_from=0.8, red_from=1)
LEVELS = {"over": "red", "warning": "orange", "forecast over": "orange"}


def build(_: str = "UTC") -> Page:
    """Return the page. Budgets are of the organisation's days in whatever zone the pages are."""
    source = (
        "From tallyspan.calls and its rollups, net of duplicates; times in UTC. "
        "Its days are of the organisation's time zone: tallyspan settings."
    )
    about = f"{NOT_PRICED} {source}"
    return (
        Page(
            "budgets",
            "Budgets",
            "What may be spent, what is spent of it, and where that leads.",
            "UTC",
            since="now/M",
            until="now/M",
        )
        .choose_one("budget", budgets.variable)
        .row(
            4,
            (
                stat(
                    "Over their amount",
                    budgets.in_state("over"),
                    f"Budgets that have reached their critical percentage. {source}",
                    colours=thresholds(red_from=1),
                ),
                6,
            ),
            (
                stat(
                    "Nearly used up",
                    budgets.in_state("warning"),
                    f"Budgets that have reached their warning percentage. {source}",
                    colours=thresholds(orange_from=1),
                ),
                6,
            ),
            (
                stat(
                    "Going to be over",
                    budgets.in_state("forecast over"),
                    "Budgets that are fine today, with a forecast above their amount: spent so "
                    "far, and for what is left of today and each day to come what its weekday "
                    f"cost on average in the last 28 days. {source}",
                    colours=thresholds(orange_from=1),
                ),
                6,
            ),
            (
                stat(
                    "Used of the budget of all calls",
                    budgets.TOTAL_USED,
                    f"Spent in the running period of its shortest budget. {about}",
                    unit=RATIO,
                    decimals=1,
                    if_null="no such budget",
                    colours=USED,
                ),
                6,
            ),
        )
        .row(
            10,
            (
                table(
                    "All budgets",
                    budgets.all_budgets,
                    "Every budget that holds today, the most used first; a click on its name draws "
                    "it below. By each user: of the budget that each user has who has none of "
                    "the own. 8 of 10 periods end between the low and the high end of the "
                    f"forecast, if days and weeks go on to scatter as in the last 28 days. {about}",
                    [
                        Column("of", "Of", TEXT, width=100),
                        Column("name", "Name", TEXT, link="budgets:budget"),
                        KEY,
                        Column("period", "Per", TEXT, width=80),
                        Column("amount", "Budget", DOLLARS, 2),
                        Column("spent", "Spent", DOLLARS, 2),
                        Column("used", "Used", RATIO, 1, is_bar=True, colours=USED),
                        Column("forecast", "Forecast", DOLLARS, 2, "too few days"),
                        Column("low", "Low end", DOLLARS, 2, "-"),
                        Column("high", "High end", DOLLARS, 2, "-"),
                        Column("forecast_used", "Forecast of budget", RATIO, 1, "-"),
                        Column("rest", "Left", DOLLARS, 2),
                        Column("days", "Days left"),
                        Column("used_up", "Used up on", TEXT, width=110),
                        UNPRICED,
                        Column("state", "State", TEXT, levels=LEVELS, width=120),
                        Column("owner", "Owner", TEXT),
                        Column("by", "By", TEXT, width=100),
                    ],
                    if_null=NONE,
                ),
                24,
            ),
        )
        .row(
            10,
            (
                lines(
                    "How it is used up",
                    budgets.burn_up,
                    "The budget chosen above, through its running period, whatever the range: "
                    "spent, and from today a straight line to the forecast and to both ends of "
                    "its band; beside it the amount, "
                    f"and what an even pace would have spent. {about}",
                    unit=DOLLARS,
                ),
                12,
            ),
            (
                table(
                    "Earlier periods",
                    budgets.history,
                    "What was spent against each budget, with the amount that held then; 12 "
                    f"months, 4 quarters, a year. {about}",
                    [
                        Column("start", "From", TEXT, width=100),
                        Column("budget", "Budget", TEXT),
                        Column("amount", "Amount", DOLLARS, 2),
                        Column("spent", "Spent", DOLLARS, 2),
                        Column("used", "Used", RATIO, 1, is_bar=True, colours=USED),
                        Column("unpriced", "Unpriced", COUNT),
                    ],
                    if_null="no earlier period with spend",
                ),
                12,
            ),
        )
    )
