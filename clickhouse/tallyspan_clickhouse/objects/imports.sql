-- What providers report as used, as they report it, and what of it no span tells of.
CREATE TABLE {database}.usage_reports {on_cluster}
(
    source LowCardinality(String) COMMENT 'Name of the import: openai, anthropic, or the name given to it',
    day Date COMMENT 'Day of the use, in the zone of the report',
    fetch_id String COMMENT 'The answer or file this line is of; usage_report_days says which one holds',
    number UInt32 COMMENT 'Place of the line in the report of the day',
    provider LowCardinality(String) COMMENT 'Provider as the ledger names it: openai, anthropic, ...',
    model_name String COMMENT 'Model as the report names it; empty: billed beside models, item names it',
    item String COMMENT 'Name of the line where it has no model',
    service_tier LowCardinality(String) COMMENT 'Tier as the report names it',
    service_name LowCardinality(String) COMMENT 'Product that was used, as spans name their service; empty: the report does not say',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, ...; empty: the report does not say',
    project String COMMENT 'Project, workspace or account of the provider',
    api_key String COMMENT 'Id or name of the API key; never the key',
    user_id String COMMENT 'User as the report names them, mostly an e-mail address',
    conditions Map(LowCardinality(String), LowCardinality(String)) COMMENT 'What the price depends on beside model and tier: geo, ...',
    is_long_context Bool COMMENT 'Whether it is of calls above the context that costs more',
    usage Map(LowCardinality(String), Float64) COMMENT 'How much was used, by meter; input_tokens includes the cache',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD as the report states it; NULL: it does not',
    fetched_at DateTime64(3, 'UTC') COMMENT 'When it was read (UTC)'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}fetched_at)
ORDER BY (source, day, fetch_id, number)
COMMENT 'Usage and costs as providers report them, every version of every day';

CREATE TABLE {database}.usage_report_days {on_cluster}
(
    source LowCardinality(String) COMMENT 'Name of the import',
    day Date COMMENT 'Day of the use, in zone',
    fetch_id String COMMENT 'Which lines of usage_reports are the report of the day',
    fetched_at DateTime64(3, 'UTC') COMMENT 'When the provider last said so (UTC); written after the lines, so a day without this row was not read to its end',
    content_hash String COMMENT 'Of the lines: a report that says the same again is not kept twice',
    lines UInt32 COMMENT 'How many lines it has',
    settings String COMMENT 'How it is matched with spans, as JSON: providers, endpoint, names, zone, ...',
    fetched_by String COMMENT 'Account and host that read it'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}fetched_at)
ORDER BY (source, day, fetch_id)
COMMENT 'Which report of a day holds, for each import';

CREATE TABLE {database}.import_lines {on_cluster}
(
    run_id String COMMENT 'The run that compared the day',
    run_at DateTime64(3, 'UTC') COMMENT 'When it began to read the spans (UTC)',
    source LowCardinality(String) COMMENT 'Name of the import',
    day Date COMMENT 'Day of the use, in the zone of the report',
    provider LowCardinality(String) COMMENT 'Provider as the ledger names it',
    model_name String COMMENT 'Model, without the date of a snapshot; or the name of the line on the report; empty: of that day there is nothing',
    reported_requests Nullable(UInt64) COMMENT 'Requests by the report; NULL: it does not say',
    recorded_calls UInt64 COMMENT 'Calls that spans tell of',
    reported_tokens Nullable(UInt64) COMMENT 'Tokens by the report, input (cache included) and output; NULL: it does not say',
    recorded_tokens UInt64 COMMENT 'Tokens that spans tell of',
    imported_tokens UInt64 COMMENT 'Tokens booked as imported: what the report has and no span',
    less_tokens UInt64 COMMENT 'Tokens that spans tell of and the report does not: it says less, and nothing is booked of that',
    reported_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost by the report, in USD; NULL: it does not say',
    recorded_cost_usd Decimal(38, 12) COMMENT 'Cost of the calls that spans tell of, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Cost booked as imported, in USD',
    less_cost_usd Decimal(38, 12) COMMENT 'What spans cost more than the report says, in USD; 0 where it states no cost',
    unpriced_tokens UInt64 COMMENT 'Imported tokens without a price: they are missing in imported_cost_usd',
    ledger_entries UInt64 COMMENT 'Entries of calls that the ledger had of the day: when it has others, the day is compared again'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}run_at)
ORDER BY (source, day, run_at, provider, model_name)
COMMENT 'What was imported of each day, by model, and what spans had of it: every run';

CREATE VIEW {database}.imports {on_cluster}
(
    source LowCardinality(String) COMMENT 'Name of the import',
    day Date COMMENT 'Day of the use, in the zone of the report',
    provider LowCardinality(String) COMMENT 'Provider as the ledger names it',
    model_name String COMMENT 'Model, without the date of a snapshot; or the name of the line on the report',
    reported_requests Nullable(UInt64) COMMENT 'Requests by the report; NULL: it does not say',
    recorded_calls UInt64 COMMENT 'Calls that spans tell of',
    reported_tokens Nullable(UInt64) COMMENT 'Tokens by the report; NULL: it does not say',
    recorded_tokens UInt64 COMMENT 'Tokens that spans tell of',
    imported_tokens UInt64 COMMENT 'Tokens booked as imported: what the report has and no span',
    less_tokens UInt64 COMMENT 'Tokens that spans tell of and the report does not',
    reported_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost by the report, in USD; NULL: it does not say',
    recorded_cost_usd Decimal(38, 12) COMMENT 'Cost of the calls that spans tell of, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Cost booked as imported, in USD',
    less_cost_usd Decimal(38, 12) COMMENT 'What spans cost more than the report says, in USD',
    unpriced_tokens UInt64 COMMENT 'Imported tokens without a price: they are missing in imported_cost_usd',
    run_at DateTime64(3, 'UTC') COMMENT 'When report and spans were last compared (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.source, l.day, l.provider, l.model_name, l.reported_requests, l.recorded_calls,
    l.reported_tokens, l.recorded_tokens, l.imported_tokens, l.less_tokens, l.reported_cost_usd,
    l.recorded_cost_usd, l.imported_cost_usd, l.less_cost_usd, l.unpriced_tokens, l.run_at
FROM {database}.import_lines AS l
WHERE l.model_name != '' AND (l.source, l.day, l.run_id) IN (
    SELECT source, day, argMax(run_id, run_at) FROM {database}.import_lines GROUP BY source, day)
COMMENT 'What providers report of each day beside what spans tell of, and what was imported';

CREATE TABLE {database}.librechat_days {on_cluster}
(
    source LowCardinality(String) COMMENT 'Name of the import',
    day Date COMMENT 'Day (UTC) of LibreChat''s documents',
    last_id String COMMENT 'Newest document (its _id, hex) of turns that were over; empty: there was none',
    calls UInt64 COMMENT 'Calls that LibreChat''s ledger has of turns of that day',
    recorded UInt64 COMMENT 'Those of them that spans tell of',
    imported UInt64 COMMENT 'Those that are booked from LibreChat''s ledger',
    left_out UInt64 COMMENT 'Calls and halves of calls that are neither: LibreChat''s estimates of failed turns, documents without their other half',
    read_at DateTime64(3, 'UTC') COMMENT 'When the day was read to its end and booked (UTC)',
    read_by String COMMENT 'Account and host that read it'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}read_at)
ORDER BY (source, day)
COMMENT 'Days of LibreChat''s ledger that were read, and what became of their calls';
