-- What providers bill, as the ledger is made equal to it (`tallyspan true-up`).
CREATE TABLE {database}.bill_lines {on_cluster}
(
    bill LowCardinality(String) COMMENT 'Name of the bill: openai, anthropic, or the name given to it',
    day Date COMMENT 'Day of the charge, in the zone of the bill',
    revision String COMMENT 'The bill of the day this line is of; bill_days says which one holds',
    number UInt32 COMMENT 'Place of the line in the bill of the day',
    model_name String COMMENT 'Model as the bill names it; empty: billed beside models, item names it',
    item String COMMENT 'Name of the line where it has no model: a search, a credit, a tax, ...',
    owner String COMMENT 'What the ledger calls the project or key of the line; empty where the bill is not split',
    billed_usd Decimal(38, 12) COMMENT 'What is billed, in USD; below 0: a credit or a refund',
    read_at DateTime64(3, 'UTC') COMMENT 'When it was read (UTC)'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}read_at)
ORDER BY (bill, day, revision, number)
COMMENT 'Bills as the ledger was made equal to them, every revision of every day';

CREATE TABLE {database}.bill_days {on_cluster}
(
    bill LowCardinality(String) COMMENT 'Name of the bill',
    day Date COMMENT 'Day of the charges, in the zone of the bill',
    revision String COMMENT 'Which lines of bill_lines are the bill of the day; empty: the true-up of the day was withdrawn',
    read_at DateTime64(3, 'UTC') COMMENT 'When the bill last said so (UTC); written after the lines',
    lines UInt32 COMMENT 'How many lines it has; 0: the bill has nothing of that day',
    billed_usd Decimal(38, 12) COMMENT 'Their sum, in USD',
    source String COMMENT 'Where it was read: the provider API, or the name of the file',
    settings String COMMENT 'Which entries it is about and to whom the rest goes, as JSON',
    read_by String COMMENT 'Account and host that read it'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}read_at)
ORDER BY (bill, day, revision)
COMMENT 'Which revision of a bill holds for a day';

CREATE VIEW {database}.bills {on_cluster}
(
    bill LowCardinality(String) COMMENT 'Name of the bill',
    day Date COMMENT 'Day of the charges, in the zone of the bill',
    billed_usd Decimal(38, 12) COMMENT 'What the bill says of the day, in USD',
    lines UInt32 COMMENT 'How many lines it has',
    source String COMMENT 'Where it was read: the provider API, or the name of the file',
    read_at DateTime64(3, 'UTC') COMMENT 'When it was read (UTC)',
    revisions UInt64 COMMENT 'How many different bills of the day were read'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT b.bill AS bill, b.day AS day, argMax(b.billed_usd, b.read_at) AS billed_usd,
    argMax(b.lines, b.read_at) AS lines, argMax(b.source, b.read_at) AS source,
    max(b.read_at) AS read_at, uniqExactIf(b.revision, b.revision != '') AS revisions
FROM {database}.bill_days AS b
GROUP BY b.bill, b.day
HAVING argMax(b.revision, b.read_at) != ''
COMMENT 'What is billed of each day, for the days that the ledger was made equal to a bill';
