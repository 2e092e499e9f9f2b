"""Data health: is it fresh, is it complete, can the sum be trusted."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    CALLS,
    KEY,
    LAST_CALL,
    NO_CALLS,
    TOKENS,
    Column,
    bars_over_time,
    gauges,
    lines,
    spend,
    stat,
    table,
)
from tallyspan_grafana.sql import health, overview
from tallyspan_grafana.theme import (
    COUNT,
    DOLLARS,
    MINUTES,
    RATIO,
    SECONDS,
    TEXT,
    TIME,
    ZONE,
    thresholds,
)


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    undecided = f"From tallyspan.call_price_doubts, net of duplicates; times in {zone}."
    bills = f"From tallyspan.reconciliations; times in {zone}."
    return (
        Page("health", "Data health", "Whether the figures are fresh and complete.", zone)
        .choose_some()
        .row(
            5,
            (
                stat(
                    "Since the last call",
                    overview.MINUTES_SINCE_LAST,
                    f"Over all calls of the last 30 days, whatever is chosen above. {source}",
                    unit=MINUTES,
                    if_null="none in 30 days",
                    colours=thresholds(orange_from=60, red_from=1440),
                ),
                6,
            ),
            (
                stat(
                    "95 % are counted within",
                    health.LAG_P95,
                    f"From the end of the call to its entry in the ledger. {source}",
                    unit=SECONDS,
                    decimals=1,
                    colours=thresholds(orange_from=60, red_from=600),
                ),
                6,
            ),
            (
                gauges(
                    "How complete the calls are",
                    health.complete,
                    "Priced: has a cost. Counted by the provider: its own token counts, no "
                    "estimate. User, department, conversation: the call names one. "
                    f"{source}",
                    unit=RATIO,
                    colours=thresholds(good_from=0.95),
                ),
                12,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Calls per hour, by service",
                    health.calls_per_hour,
                    f"A gap is a service that fell silent, or a collector that did. {source}",
                    label="service",
                    unit=COUNT,
                    if_null=NO_CALLS,
                ),
                12,
            ),
            (
                lines(
                    "Seconds until a call is counted",
                    health.lag_per_day,
                    f"From the end of the call to its entry in the ledger. {source}",
                    unit=SECONDS,
                ),
                12,
            ),
        )
        .row(
            11,
            (
                table(
                    "Services and what their calls lack",
                    health.services,
                    f"Parts of all calls of the service. {source}",
                    [
                        Column("name", "Service", TEXT),
                        Column("key_name", "Ingest key", TEXT),
                        CALLS,
                        Column("no_user", "No user", RATIO, 1),
                        Column("no_department", "No department", RATIO, 1),
                        Column("no_conversation", "No conversation", RATIO, 1),
                        Column("estimated", "Estimated", RATIO, 1),
                        Column("unknown", "Unknown usage", RATIO, 1),
                        Column("unpriced", "Unpriced", RATIO, 1),
                        Column("lag", "95 % counted within", SECONDS, 1),
                        LAST_CALL,
                    ],
                ),
                24,
            ),
        )
        .row(
            9,
            (
                table(
                    "Usage that nobody reads",
                    health.unread,
                    "Places in the usage that no rule reads, by path; what they bill "
                    f"may be missing in the cost. {source}",
                    [
                        Column("provider", "Provider", TEXT),
                        Column("name", "Model", TEXT),
                        Column("path", "Place in the usage", TEXT, link="call:call"),
                        Column("first_seen", "First seen", TIME, width=190),
                        CALLS,
                        TOKENS,
                        spend(),
                        KEY,
                    ],
                    if_null="every key of the usage is read",
                ),
                16,
            ),
            (
                table(
                    "Quality flags",
                    health.flags,
                    "What was inferred, repaired, or contradicts itself, and the calls; "
                    f"a call may have several. {source}",
                    [Column("flag", "Flag", TEXT, link="call:call"), CALLS, TOKENS, spend(), KEY],
                    if_null="no call has a flag",
                ),
                8,
            ),
        )
        .row(
            9,
            (
                table(
                    "Undecided prices",
                    health.undecided,
                    "Calls whose price depends on what nobody reports or has a price for, "
                    "as booked and if it is decided the other way. To decide: a line of "
                    "models_pricing.yaml, what you fill in is in capitals. "
                    f"{undecided}",
                    [
                        Column("flag", "Price flag", TEXT, link="call:call"),
                        Column("provider", "Provider", TEXT),
                        Column("endpoint", "Endpoint", TEXT),
                        Column("name", "Model", TEXT),
                        CALLS,
                        spend(),
                        Column("other_way", "The other way", DOLLARS, 4, "-"),
                        Column("difference", "Difference", DOLLARS, 4, "-"),
                        Column("to_set", "To decide", TEXT, is_wrapped=True),
                        KEY,
                    ],
                    if_null="every price is decided",
                ),
                24,
            ),
        )
        .row(
            9,
            (
                table(
                    "Users the directory does not know",
                    health.unknown_users,
                    "Calls of whole days (UTC) by users who are not in the directory on that day, "
                    "whatever is chosen above. `tallyspan directory import` adds "
                    f"them. From tallyspan.unknown_users, net of duplicates; times in {zone}.",
                    [
                        Column("name", "User", TEXT, link="user"),
                        Column("key", "Key", TEXT, is_hidden=True),
                        Column("why", "Why", TEXT),
                        Column("departments", "Booked to", TEXT),
                        Column("call_count", "Calls"),
                        Column("spend", "Spend", DOLLARS),
                        Column("last_day", "Last day", TEXT, width=110),
                    ],
                ),
                24,
            ),
        )
        .row(
            9,
            (
                table(
                    "Bills: coverage and drift",
                    health.bills,
                    "Each bill that was compared, by model, by project or key, and by day; without "
                    "its credits, taxes and purchases. Coverage: recorded tokens as a part of the "
                    "billed ones; costs, where the bill has no tokens. Drift: recorded cost less "
                    "billed, as a part of billed; calls without a price are not in recorded. "
                    f"Whatever is chosen above. {bills}",
                    [
                        Column("bill", "Bill", TEXT),
                        Column("kind", "Of", TEXT, width=140),
                        Column("name", "Name", TEXT, if_null="all"),
                        Column("recorded", "Recorded", DOLLARS, 4, "not compared"),
                        Column("billed", "Billed", DOLLARS, 4, "not stated"),
                        Column("coverage", "Coverage", RATIO, 2, "-"),
                        Column("drift", "Drift", RATIO, 2, "-"),
                        Column("run_at", "Compared", TIME, if_null="-", width=190),
                        Column("run_by", "By", TEXT, if_null="-"),
                        Column("notes", "Notes", TEXT, if_null="-"),
                        Column("failed_at", "Failed since", TIME, if_null="-", width=190),
                        Column("error", "Why", TEXT, if_null="-"),
                    ],
                    if_null="nothing reconciled yet: tallyspan reconcile",
                ),
                24,
            ),
        )
        .row(
            11,
            (
                table(
                    "Recorded against billed",
                    health.reconciled,
                    "The lines of those bills, what is off first; days of the bill. Calls without "
                    f"a price are not in recorded. Whatever is chosen above. {bills}",
                    [
                        Column("day_of_bill", "Day", TEXT, width=110),
                        Column("provider", "Bill", TEXT),
                        Column("name", "Model", TEXT),
                        Column("part", "Project or key", TEXT, if_null="all"),
                        Column("recorded", "Recorded", DOLLARS, 4),
                        Column("billed", "Billed", DOLLARS, 4, "not stated"),
                        Column("cost_drift", "Drift", RATIO, 2, "-"),
                        Column("why", "Likely reason", TEXT, if_null="within the threshold"),
                        Column("because", "Because", TEXT, if_null="-", is_wrapped=True),
                        Column("recorded_tokens", "Recorded tokens"),
                        Column("billed_tokens", "Billed tokens", COUNT, None, "not stated"),
                        Column("token_drift", "Drift of tokens", RATIO, 2, "-"),
                        Column("run_at", "Compared", TIME, width=190),
                    ],
                    if_null="nothing reconciled yet: tallyspan reconcile",
                ),
                24,
            ),
        )
        .row(
            9,
            (
                table(
                    "Imported, not seen",
                    health.imported,
                    "What providers report as used, what of it spans tell of, and what was booked "
                    "as imported because no span does. Says less: spans tell of more than the "
                    "report, of which nothing is booked. Whatever is chosen above. From "
                    f"tallyspan.imports; times in {zone}.",
                    [
                        Column("day_of_use", "Day", TEXT, width=110),
                        Column("source", "Import", TEXT),
                        Column("name", "Model or line", TEXT),
                        Column("reported", "Reported tokens", COUNT, None, "not stated"),
                        Column("recorded", "By spans"),
                        Column("imported_tokens", "Imported tokens"),
                        Column("imported", "Imported", DOLLARS, 4),
                        Column("unpriced", "Without a price", COUNT, None, "-"),
                        Column("less", "Says less", COUNT, None, "-"),
                        Column("less_cost", "Says less", DOLLARS, 4, "-"),
                        Column("run_at", "Compared", TIME, width=190),
                    ],
                    if_null="nothing imported yet: tallyspan import",
                ),
                24,
            ),
        )
        .row(
            7,
            (
                table(
                    "Seen but not understood",
                    health.not_understood,
                    "Requests of the last 30 days to providers whose path no format knows, "
                    "whatever is chosen above: perhaps a new API, of which nothing is booked. "
                    "* is an id or a name. From "
                    f"tallyspan.requests_not_understood; times in {zone}.",
                    [
                        Column("provider", "Provider", TEXT),
                        Column("name", "Request", TEXT),
                        Column("requests", "Requests"),
                        Column("first_seen", "First seen", TIME, width=190),
                        Column("last_seen", "Last seen", TIME, width=190),
                    ],
                    if_null="every request to a provider was understood",
                ),
                24,
            ),
        )
        .row(
            6,
            (
                table(
                    "Collectors",
                    health.collectors,
                    "What each collector of the last day did in the last 15 minutes, whatever is "
                    "chosen above. Lost: malformed, buried or without a time. From "
                    f"tallyspan.collector_health; times in {zone}.",
                    [
                        Column("name", "Collector", TEXT),
                        Column(
                            "state",
                            "State",
                            TEXT,
                            levels={
                                "silent": "red",
                                "loses spans": "red",
                                "price file broken": "orange",
                            },
                            width=140,
                        ),
                        Column("stored", "Calls stored"),
                        Column("lost", "Spans lost"),
                        Column("refused", "Requests refused"),
                        Column("failed", "Inserts failed"),
                        Column("waiting", "Bytes waiting"),
                        Column("last_seen", "Last heard of", TIME, width=190),
                    ],
                    if_null="no collector wrote its metrics in a day",
                ),
                24,
            ),
        )
    )
