-- Who changed the cost of calls that were booked already, why, and by how much.
CREATE TABLE {database}.price_changes {on_cluster}
(
    run_id String COMMENT 'The run; its entries in llm_calls came between started_at and finished_at',
    kind LowCardinality(String) COMMENT 'reprice (a person asked for it) or backfill (a price for unpriced calls arrived)',
    started_at DateTime64(3, 'UTC') COMMENT 'When the run began (UTC)',
    finished_at DateTime64(3, 'UTC') COMMENT 'When this row was written (UTC); a run that has no row was broken off: run it again',
    changed_by String COMMENT 'Who ran it',
    reason String COMMENT 'Why, in the words of who ran it',
    calls_from DateTime64(6, 'UTC') COMMENT 'Start of the calls looked at (UTC)',
    calls_to DateTime64(6, 'UTC') COMMENT 'End of them, excluded (UTC)',
    scope String COMMENT 'Which of them, as JSON: model, provider, endpoint, department',
    calls UInt64 COMMENT 'Calls whose cost changed',
    newly_priced_calls UInt64 COMMENT 'Those of them that had no price before',
    old_cost_usd Decimal(38, 12) COMMENT 'Their cost before, in USD',
    new_cost_usd Decimal(38, 12) COMMENT 'Their cost after, in USD',
    old_price_ids Array(String) COMMENT 'Prices they were booked with',
    new_price_ids Array(String) COMMENT 'Prices they have now'
)
ENGINE = {replicated}MergeTree
ORDER BY (started_at, run_id)
COMMENT 'Audit of price changes to booked calls; the amounts themselves are entries of llm_calls';
