"""The Overview: who spends, on what, and what is not in the money yet."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    CACHE_SAVING,
    CALLS,
    KEY,
    NO_CALLS,
    NOT_PRICED,
    TOKENS,
    UNPRICED,
    Column,
    bars,
    bars_over_time,
    hidden,
    money,
    spend,
    stat,
    table,
)
from tallyspan_grafana.sql import common, overview
from tallyspan_grafana.theme import DOLLARS, RATIO, TEXT, ZONE, thresholds

NOTHING = "unpriced"
FEW_DAYS = "fewer than 3 days known"


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls and its rollup by day, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    of_organisation = f"{about} Its days are of the organisation's time zone: tallyspan settings."
    return (
        Page("overview", "Overview", "What the organisation's LLM calls cost.", zone)
        .choose_some()
        .row(
            4,
            (money("Spend", overview.SPEND, f"In the range above. {about}"), 8),
            (
                stat(
                    "Against last month",
                    overview.CHANGE_TO_LAST_MONTH,
                    "The month so far against the month before from its 1st to the same day and "
                    "time; where it has no such day, to its end. The table below has the dollars. "
                    f"{of_organisation}",
                    unit=RATIO,
                    decimals=1,
                    if_null="nothing then",
                    colours=thresholds(orange_from=0.25, red_from=1),
                ),
                8,
            ),
            (
                money(
                    "Forecast of this month",
                    overview.FORECAST_OF_MONTH,
                    "Spent so far, and for what is left of today and each day to come what its "
                    f"weekday cost on average in the last 28 days. {of_organisation}",
                    if_null=FEW_DAYS,
                ),
                8,
            ),
        )
        .row(
            5,
            (
                table(
                    "So far, against the same days before",
                    overview.running,
                    "Month, quarter and year so far, whatever the range above, against the one "
                    "before from its first day to the same day and time; where a month has no "
                    "such day, to its end. Forecast: spent so far, and what is left of today and "
                    "each day to come by the mean of its weekday; 8 of 10 periods end between its "
                    "low and its high end, if days and weeks go on to scatter as in the last 28 "
                    f"days. {of_organisation}",
                    [
                        Column("period", "This", TEXT, width=90),
                        Column("since", "From", TEXT, width=100),
                        Column("so_far", "So far", DOLLARS, 2),
                        Column("then", "Before", DOLLARS, 2),
                        Column("days", "Days before", TEXT, width=200),
                        Column("more", "More", DOLLARS, 2),
                        Column("change", "Change", RATIO, 1, "nothing then"),
                        Column("forecast", "Forecast", DOLLARS, 2, "too few days"),
                        Column("low", "Low end", DOLLARS, 2, "-"),
                        Column("high", "High end", DOLLARS, 2, "-"),
                    ],
                    if_null=NOTHING,
                ),
                24,
            ),
        )
        .row(
            3,
            (
                stat(
                    "Calls", overview.CALL_COUNT, f"Every call once, failed ones included. {source}"
                ),
                5,
            ),
            (
                stat(
                    "Tokens",
                    overview.TOKENS,
                    f"Prompt and answer; calls of unknown usage are not in it. {source}",
                    if_null="unknown",
                ),
                5,
            ),
            (
                stat(
                    "Unpriced calls",
                    overview.UNPRICED_CALLS,
                    f"No price or no token count: not in any spend here. {source}",
                    colours=thresholds(orange_from=1),
                ),
                5,
            ),
            (
                stat(
                    "Without provider usage",
                    overview.WITHOUT_PROVIDER_USAGE,
                    "Tokens estimated or unknown; calls that are not billed are not in it. "
                    f"{source}",
                    colours=thresholds(orange_from=1),
                ),
                5,
            ),
            (
                money(
                    "Saved by caching",
                    common.CACHE_SAVED,
                    f"{CACHE_SAVING} {about}",
                    if_null="none known",
                ),
                4,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Spend per day, by model",
                    common.per_day("model", zone),
                    "The ten models that cost most, and all others. "
                    f"The range cuts its first and last day. {about}",
                    label="model",
                ),
                16,
            ),
            (
                bars(
                    "Spend by department",
                    common.ranking("department"),
                    f"The dearest first. {about}",
                    link="users:department",
                ),
                8,
            ),
        )
        .row(
            3,
            (
                table(
                    "What the spend is made of",
                    overview.parts,
                    "Use: calls that are billed one by one. Shares of provisioned throughput and "
                    "of plans, each day's cost spread over the calls that used it; and what of "
                    "commitments, seats and minimums nobody used. Imported: what providers "
                    "report and no span tells of. Trued up: what bills have beyond that. "
                    f"Corrections: of months that were closed before. {about}",
                    [
                        Column("use", "Use", DOLLARS, 2),
                        Column("commitment", "Provisioned throughput", DOLLARS, 2),
                        Column("plan", "Plans", DOLLARS, 2),
                        Column("unused", "Unused", DOLLARS, 2),
                        Column("imported", "Imported", DOLLARS, 2),
                        Column("true_up", "Trued up", DOLLARS, 2),
                        Column("prior_period", "Corrections", DOLLARS, 2),
                    ],
                    if_null=NOTHING,
                ),
                24,
            ),
        )
        .row(10, (_top("user", "user:user", about), 12), (_top("model", "models:model", about), 12))
        .row(
            5,
            (
                table(
                    "Unusual yesterday",
                    overview.unusual(zone),
                    "Users and models whose spend of the last whole day lies above the median of "
                    "the 28 days before by three deviations, and is a dollar at least. "
                    f"{about}",
                    [
                        Column("user", "User", TEXT, link="user:user", link_key="user_key"),
                        hidden("user_key"),
                        Column("model", "Model", TEXT),
                        Column("spend", "Spent", DOLLARS, 2),
                        hidden("days"),
                        Column("usual", "Usual day", DOLLARS, 2),
                        Column("more", "More than usual", DOLLARS, 2, is_bar=True),
                        hidden("bound"),
                    ],
                    if_null="nothing unusual",
                ),
                24,
            ),
        )
    )


def _top(dimension: str, link: str, about: str) -> object:
    return table(
        f"Top {dimension}s",
        common.ranking(dimension, most=50),
        f"The 50 that spend most; '(nobody said)': the call names none. {about}",
        [
            Column("name", dimension.capitalize(), TEXT, link=link),
            KEY,
            CALLS,
            TOKENS,
            spend(is_bar=True),
            UNPRICED,
        ],
        if_null=NO_CALLS,
    )
