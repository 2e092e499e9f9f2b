"""Models & efficiency: what a million tokens cost, what the cache takes off, what fails."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import (
    BEFORE,
    CACHE_SAVING,
    CALLS,
    CHANGE,
    COMPARED,
    KEY,
    LAST_CALL,
    NO_CALLS,
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
from tallyspan_grafana.sql import common, models
from tallyspan_grafana.theme import COUNT, DOLLARS, RATIO, SECONDS, TEXT, ZONE, thresholds


def build(zone: str = ZONE) -> Page:
    """Return the page."""
    source = f"From tallyspan.calls, net of duplicates; times in {zone}."
    about = f"{NOT_PRICED} {source}"
    return (
        Page("models", "Models & efficiency", "What models cost, and what is saved or lost.", zone)
        .choose_some()
        .row(
            4,
            (
                money(
                    "Spend per million tokens",
                    models.PER_MILLION,
                    f"Prompt and answer of the priced calls together. {about}",
                    if_null="no priced tokens",
                ),
                5,
            ),
            (
                stat(
                    "Prompt tokens from cache",
                    models.CACHED,
                    f"Part of the prompt tokens that the provider read from its cache. {source}",
                    unit=RATIO,
                    decimals=1,
                    if_null="unknown",
                ),
                4,
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
            (
                stat(
                    "Answer tokens for reasoning",
                    models.REASONING,
                    f"Part of the answer tokens that nobody reads. {source}",
                    unit=RATIO,
                    decimals=1,
                    if_null="unknown",
                ),
                4,
            ),
            (
                stat(
                    "Failed calls",
                    models.ERRORS,
                    f"Part of all calls. {source}",
                    unit=RATIO,
                    decimals=1,
                    colours=thresholds(orange_from=0.05, red_from=0.2),
                ),
                3,
            ),
            (
                money(
                    "Spend on failed calls",
                    models.ERROR_COST,
                    f"Failed, and billed all the same. {about}",
                ),
                4,
            ),
        )
        .row(
            11,
            (
                table(
                    "All models",
                    models.MODELS,
                    f"{COMPARED} {about}",
                    [
                        Column("name", "Model", TEXT),
                        KEY,
                        spend(),
                        SHARE,
                        BEFORE,
                        CHANGE,
                        Column("per_million", "Per million", DOLLARS, 2, "-"),
                        CALLS,
                        Column("input", "Input", COUNT, None, "unknown"),
                        Column("cache_hit", "From cache", RATIO, 1, "-"),
                        Column("cache_saved", "Saved by caching", DOLLARS, 2),
                        Column("output", "Output", COUNT, None, "unknown"),
                        Column("reasoning", "Reasoning", COUNT, None, "-"),
                        Column("errors", "Failed calls"),
                        Column("p50", "Half within", SECONDS, 1),
                        Column("p95", "95 % within", SECONDS, 1),
                        Column("first_chunk", "95 % first chunk", SECONDS, 1, "-"),
                    ],
                ),
                24,
            ),
        )
        .row(
            9,
            (
                bars_over_time(
                    "Tokens per day, by kind",
                    models.tokens_per_day(zone),
                    "The four kinds add up to all tokens; calls of unknown usage are not in "
                    f"it. {source}",
                    unit=COUNT,
                    if_null=NO_CALLS,
                ),
                12,
            ),
            (
                table(
                    "Endpoints",
                    models.by("endpoint"),
                    f"Provider hosts, gateways or contracts; the dearest first. {about}",
                    [
                        Column("name", "Endpoint", TEXT),
                        CALLS,
                        Column("errors", "Failed calls"),
                        TOKENS,
                        spend(is_bar=True),
                        UNPRICED,
                    ],
                ),
                12,
            ),
        )
        .row(
            8,
            (
                table(
                    "Errors and what they cost",
                    models.costly_errors,
                    f"Most money first, then most calls. {about}",
                    [
                        Column("error", "Error", TEXT),
                        Column("model", "Model", TEXT),
                        CALLS,
                        TOKENS,
                        spend(),
                        LAST_CALL,
                    ],
                    if_null="no failed calls",
                ),
                24,
            ),
        )
    )
