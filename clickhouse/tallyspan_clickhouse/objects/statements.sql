-- Statements that the collector has written of closed months, so that each is written once.
CREATE TABLE {database}.statement_runs {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the closed month',
    version UInt32 COMMENT 'Which close of the month',
    written_at DateTime64(3, 'UTC') COMMENT 'When its statements were written (UTC)',
    written_by String COMMENT 'Account and host of the collector that wrote them',
    folder String COMMENT 'Folder they were written to',
    files UInt32 COMMENT 'How many files'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}written_at)
ORDER BY (month, version)
COMMENT 'Closes of months whose statements the collector has written';
