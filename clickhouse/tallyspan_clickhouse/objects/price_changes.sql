-- Who changed the cost of calls that were booked already, why, and by how much.
CREATE TABLE {database}.price_changes {on_cluster}
(
    run_id String COMMENT 'The run; its entries in llm_calls came between its two rows here',
    kind LowCardinality(String) COMMENT 'reprice (a person asked for it), backfill (a price for unpriced calls arrived), commitment (shares of commitments, and the calls they pay for), imported (what providers report and no span tells of), true_up (what bills have and the ledger has not), prior_period (corrections of closed months), librechat (calls of LibreChat''s ledger that no span tells of), sent_twice (several collectors booked the same spans; all bookings but one are taken back), split_trace (spans of a trace came to several collectors; it is charged as if to one) or remainder (calls were taken back after a price change, and what it left is booked away)',
    started_at DateTime64(3, 'UTC') COMMENT 'When the run began (UTC)',
    state LowCardinality(String) COMMENT 'begun (written before the first entry) or finished (with the totals); a run that only began was broken off, and the next one completes it',
    written_at DateTime64(3, 'UTC') COMMENT 'When this row was written (UTC)',
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

CREATE TABLE {database}.price_books {on_cluster}
(
    hash String COMMENT 'Of the price file and the version of the bundled prices, hex',
    loaded_at DateTime64(3, 'UTC') COMMENT 'When a collector first used it (UTC)',
    loaded_by String COMMENT 'Account and host of that collector',
    bundled String COMMENT 'Bundled prices behind the file, such as genai-prices 0.2.3',
    file_name String COMMENT 'Name of the price file; empty: there is none',
    content String CODEC(ZSTD(1)) COMMENT 'The price file as it was',
    price_ids Array(String) COMMENT 'Its entries',
    added Array(String) COMMENT 'Price ids that came with this version',
    removed Array(String) COMMENT 'Price ids that went with it'
)
ENGINE = {replicated}MergeTree
ORDER BY (loaded_at, hash)
COMMENT 'Every version of the price book: what it said, since when, who loaded it';
