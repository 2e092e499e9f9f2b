"""One call: meters, conditions, price and doubts; the console adds how the price was made."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import Column, stat, table, text
from tallyspan_grafana.sql import call
from tallyspan_grafana.theme import DOLLARS, EXACT, TEXT, ZONE

_DIGITS = 6
_NO_CALL = "no such call"


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    meters = f"From tallyspan.call_meters, net of duplicates; times in {zone}."
    doubts = f"From tallyspan.call_doubts, net of duplicates; times in {zone}."
    return (
        Page("call", "Call", "Why one call costs what it costs.", zone)
        .choose_one("call", call.variable)
        .row(
            4,
            (text("Model", call.MODEL, f"As reports and prices name it. {source}"), 6),
            (text("Endpoint", call.ENDPOINT, f"Where the call went. {source}"), 5),
            (text("User", call.USER, f"Whom it was made for. {source}"), 4),
            (
                stat(
                    "Cost",
                    call.COST,
                    f"As booked, price changes included; a call without a price has none. {source}",
                    unit=DOLLARS,
                    decimals=_DIGITS,
                    if_null="unpriced",
                ),
                3,
            ),
            (
                stat(
                    "The other way",
                    call.OTHER_COST,
                    f"If what is undecided is decided so; none without a price. {source}",
                    unit=DOLLARS,
                    decimals=_DIGITS,
                    if_null="decided",
                ),
                3,
            ),
            (
                text(
                    "Cost is",
                    call.STATE,
                    f"Priced, reported by the provider, unpriced, not billed or notional. {source}",
                ),
                3,
            ),
        )
        .row(
            9,
            (
                table(
                    "Meters",
                    call.meters,
                    "What was used: tokens by class, and units counted one by one; what nobody "
                    f"stated is not there. {meters}",
                    [Column("name", "Meter", TEXT), Column("amount", "Amount", EXACT)],
                    if_null="nobody stated any",
                ),
                7,
            ),
            (
                table(
                    "Conditions",
                    call.conditions,
                    f"What the price depends on. {source}",
                    [Column("name", "Condition", TEXT), Column("value", "Value", TEXT)],
                    if_null=_NO_CALL,
                ),
                8,
            ),
            (
                table(
                    "Doubts",
                    call.doubts,
                    "Usage that no rule reads, undecided prices, quality flags; to decide a price: "
                    f"a line of models_pricing.yaml. {doubts}",
                    [
                        Column("kind", "Kind", TEXT, width=90),
                        Column("name", "Doubt", TEXT),
                        Column("to_set", "To decide", TEXT, if_null="-", is_wrapped=True),
                    ],
                    if_null="nothing is doubtful",
                ),
                9,
            ),
        )
        .row(
            5,
            (
                table(
                    "Price and parts of the cost",
                    call.price,
                    "Factors stand behind the id of the price. Rest: what is neither prompt nor "
                    "answer, such as searches. Step by step, with the sources: the console's page "
                    f"of the call, tallyspan explain, the API. {source}",
                    [
                        Column("price", "Price", TEXT, if_null="-"),
                        Column("source", "From", TEXT, if_null="-"),
                        Column("why", "Why none", TEXT, if_null="-"),
                        Column("of_input", "Prompt", DOLLARS, _DIGITS, "-"),
                        Column("of_output", "Answer", DOLLARS, _DIGITS, "-"),
                        Column("of_rest", "Rest", DOLLARS, _DIGITS, "-"),
                        Column("cost", "Cost", DOLLARS, _DIGITS, "unpriced"),
                        Column("other_way", "The other way", DOLLARS, _DIGITS, "-"),
                        Column("reported", "Provider's own", DOLLARS, _DIGITS, "-"),
                        Column("claimed", "Sender's own", DOLLARS, _DIGITS, "-"),
                    ],
                    if_null=_NO_CALL,
                ),
                24,
            ),
        )
    )
