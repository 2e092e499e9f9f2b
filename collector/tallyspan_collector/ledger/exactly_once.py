"""Settings with which a batch that is inserted twice under one token is in the ledger once."""

EXACTLY_ONCE: dict[str, int] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
"""Sent with every insert, because the defaults differ between ClickHouse versions."""
