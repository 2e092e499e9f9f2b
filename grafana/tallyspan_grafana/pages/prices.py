"""Prices & unpriced: which calls have no cost, and which prices the others have."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    CALLS,
    LAST_CALL,
    NOT_PRICED,
    TOKENS,
    Column,
    bars_over_time,
    money,
    spend,
    stat,
    table,
)
from tallyspan_grafana.sql import models
from tallyspan_grafana.theme import COUNT, DOLLARS, RATIO, TEXT, ZONE, thresholds


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    some_are_bad = thresholds(orange_from=1)
    return (
        Page(
            "prices",
            "Prices & unpriced",
            "Which calls have no cost yet, and what the others were priced by.",
            zone,
        )
        .choose_some()
        .row(
            4,
            (
                stat(
                    "Calls with a cost",
                    models.COVERAGE,
                    f"All calls but the unpriced ones. {source}",
                    unit=RATIO,
                    decimals=2,
                    colours=thresholds(good_from=1),
                ),
                5,
            ),
            (
                stat(
                    "Unpriced calls",
                    models.UNPRICED_CALLS,
                    f"No price or no token count. {source}",
                    colours=some_are_bad,
                ),
                5,
            ),
            (
                stat(
                    "Unpriced tokens",
                    models.UNPRICED_TOKENS,
                    f"Tokens that wait for a price; those of unknown usage are not in it. {source}",
                    if_null="unknown",
                    colours=some_are_bad,
                ),
                5,
            ),
            (
                money(
                    "Spend from estimates",
                    models.ESTIMATED_SPEND,
                    "Calls whose tokens were counted by our tokenizer, not by the provider. "
                    f"{source}",
                ),
                5,
            ),
            (
                stat(
                    "Billed calls of unknown usage",
                    models.UNKNOWN_USAGE,
                    "Nobody counted their tokens. Calls that are not billed, such as failed ones, "
                    f"are not in it. {source}",
                    colours=some_are_bad,
                ),
                4,
            ),
        )
        .row(
            9,
            (
                table(
                    "Models without a price",
                    models.unpriced_models,
                    f"What a line in models_pricing.yaml would price, most tokens first. {source}",
                    [
                        Column("provider", "Provider", TEXT),
                        Column("name", "Model", TEXT),
                        Column("endpoint", "Endpoint", TEXT),
                        Column("reason", "Why", TEXT),
                        CALLS,
                        TOKENS,
                        Column("first_call", "First call", TEXT, width=110),
                        LAST_CALL,
                    ],
                    if_null="every call has a cost",
                ),
                15,
            ),
            (
                bars_over_time(
                    "Unpriced calls per day, by reason",
                    models.unpriced_per_day(zone),
                    f"An empty picture is the good one. {source}",
                    label="reason",
                    unit=COUNT,
                    if_null="every call has a cost",
                ),
                9,
            ),
        )
        .row(
            11,
            (
                table(
                    "Prices that were used",
                    models.prices_used,
                    "Per million: what prompt and answer tokens cost together, effectively. "
                    "Second source: its list price of a million tokens, as of the comparison "
                    "that this release came with, and the class that is furthest apart. "
                    f"{about}",
                    [
                        Column("provider", "Provider", TEXT),
                        Column("name", "Model", TEXT),
                        Column("tier", "Tier", TEXT, if_null="-"),
                        Column("price", "Price from", TEXT),
                        CALLS,
                        TOKENS,
                        spend(),
                        Column("per_million", "Per million", DOLLARS, 2, "-"),
                        Column("second_input", "Second source: input", DOLLARS, 2, "-"),
                        Column("second_output", "and output", DOLLARS, 2, "-"),
                        Column("apart", "Ours is above it by", RATIO, 1, "-"),
                        Column("why", "Why", TEXT, if_null="not compared"),
                    ],
                ),
                15,
            ),
            (
                table(
                    "How calls were priced",
                    models.how_priced,
                    "Reported: the provider stated the cost. Not billed: the provider refused the "
                    f"request. {source}",
                    [
                        Column("state", "Cost", TEXT),
                        Column("counted_by", "Tokens by", TEXT),
                        Column("calls", "Calls", COUNT),
                        TOKENS,
                        spend(),
                    ],
                ),
                9,
            ),
        )
    )
