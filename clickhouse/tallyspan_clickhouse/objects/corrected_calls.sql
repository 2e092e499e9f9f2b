-- Few calls have more entries than their first: the view `calls` looks here which.
CREATE TABLE {database}.corrected_calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request of the call left the application (UTC)',
    call_hash UInt64 CODEC(ZSTD(1)) COMMENT 'cityHash64(trace_id, span_id) of the call',
    corrections Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries after the first: reversals and price changes'
)
ENGINE = {replicated}SummingMergeTree((corrections))
PARTITION BY toYYYYMM(start_time)
ORDER BY (start_time, call_hash)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls that have more entries in the ledger than their first';

CREATE MATERIALIZED VIEW {database}.corrected_calls_feed {on_cluster} TO {database}.corrected_calls
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT l.start_time, cityHash64(l.trace_id, l.span_id) AS call_hash, toInt64(count()) AS corrections
FROM {database}.llm_calls AS l
WHERE l.entry_kind NOT IN ('call', 'commitment', 'imported')
GROUP BY l.start_time, call_hash
COMMENT 'Adds every reversal and price change of llm_calls to corrected_calls';
