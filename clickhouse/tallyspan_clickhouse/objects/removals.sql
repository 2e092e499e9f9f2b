-- What left the ledger: the rollups keep it, so they must not be compared with the ledger any more.
CREATE TABLE {database}.removals {on_cluster}
(
    first_day Date COMMENT 'First day (UTC) of which entries may be gone from llm_calls',
    last_day Date COMMENT 'Last such day (UTC)',
    reason LowCardinality(String) COMMENT 'archive, or retention: a TTL that was in force until noted_at',
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was noted, before the first entry went (UTC)'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}noted_at)
ORDER BY (first_day, last_day, reason)
COMMENT 'Days whose entries were archived or have expired, while the rollups have them still';
