-- What was recorded against what the provider says it billed; one line a day, model and project.
CREATE TABLE {database}.reconciliation_lines {on_cluster}
(
    run_id String COMMENT 'The run of tallyspan reconcile',
    run_at DateTime64(3, 'UTC') COMMENT 'When it ran (UTC)',
    run_by String COMMENT 'Account and host it ran as',
    provider LowCardinality(String) COMMENT 'Whose bill: openai, anthropic, or the name given for a file',
    source String COMMENT 'Where the bill came from: the provider API, or the name of the file',
    zone LowCardinality(String) COMMENT 'Time zone of the days',
    day Date COMMENT 'Day of the calls, in that zone',
    model_name String COMMENT 'Model, without the date of a snapshot; for what is billed beside models, the name of the line on the bill',
    project String COMMENT 'Project, workspace or API key on the bill; empty where the run was not by them',
    charge LowCardinality(String) DEFAULT 'usage' COMMENT 'What is billed: usage, which is compared; purchase, credit or tax, which are of no call; empty: of that day there is nothing',
    recorded_calls UInt64 COMMENT 'Calls in the ledger, net',
    billed_requests Nullable(UInt64) COMMENT 'Requests on the bill; NULL: it does not say',
    recorded_tokens UInt64 COMMENT 'Tokens in the ledger, input and output',
    billed_tokens Nullable(UInt64) COMMENT 'Tokens on the bill, input (cache included) and output; NULL: it does not say',
    recorded_cost_usd Decimal(38, 12) COMMENT 'Cost in the ledger, in USD; calls without a price are not in it',
    billed_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost on the bill, in USD; NULL: it does not say',
    token_drift Nullable(Float64) COMMENT 'Recorded tokens less billed, as a part of billed; -0.05: five percent are missing',
    cost_drift Nullable(Float64) COMMENT 'Recorded cost less billed, as a part of billed',
    reason LowCardinality(String) COMMENT 'Likely reason of the drift; empty: within the threshold',
    detail String COMMENT 'What the reason was concluded from',
    threshold Float64 COMMENT 'Drift that was allowed, as a part of billed',
    is_within Bool COMMENT 'Whether the line is within the threshold'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}run_at)
ORDER BY (provider, day, run_at, model_name, project)
COMMENT 'Every run of tallyspan reconcile, line by line';

CREATE TABLE {database}.reconciliation_runs {on_cluster}
(
    run_id String COMMENT 'The run of tallyspan reconcile',
    run_at DateTime64(3, 'UTC') COMMENT 'When it ran (UTC)',
    run_by String COMMENT 'Account and host it ran as',
    is_scheduled Bool COMMENT 'Whether the collector ran it by its schedule, and nobody by hand',
    provider LowCardinality(String) COMMENT 'Whose bill: openai, anthropic, or the name given to it',
    source String COMMENT 'Where the bill came from: the provider API, or the name of the file',
    first_day Date COMMENT 'First day that was compared, in the zone of the bill',
    last_day Date COMMENT 'Last day that was compared',
    lines UInt32 COMMENT 'How many lines the comparison has',
    lines_off UInt32 COMMENT 'How many of them are not within the threshold',
    notes Array(String) COMMENT 'What to know of the bill as it was read: other days, currencies, lines that stand twice, ...',
    error String COMMENT 'Why it failed; empty: it did not'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}run_at)
ORDER BY (provider, run_at, run_id)
COMMENT 'Every run of tallyspan reconcile, those of the schedule that failed too';

CREATE VIEW {database}.reconciliations {on_cluster}
(
    run_id String COMMENT 'The run of tallyspan reconcile',
    run_at DateTime64(3, 'UTC') COMMENT 'When it ran (UTC)',
    provider LowCardinality(String) COMMENT 'Whose bill',
    source String COMMENT 'Where the bill came from: the provider API, or the name of the file',
    day Date COMMENT 'Day of the calls, in the zone of the bill',
    model_name String COMMENT 'Model, without the date of a snapshot; or the name of the line on the bill',
    project String COMMENT 'Project, workspace or API key on the bill; empty where the run was not by them',
    charge LowCardinality(String) COMMENT 'What is billed: usage, which is compared; purchase, credit or tax, which are of no call',
    recorded_calls UInt64 COMMENT 'Calls in the ledger, net',
    billed_requests Nullable(UInt64) COMMENT 'Requests on the bill; NULL: it does not say',
    recorded_tokens UInt64 COMMENT 'Tokens in the ledger, input and output',
    billed_tokens Nullable(UInt64) COMMENT 'Tokens on the bill; NULL: it does not say',
    recorded_cost_usd Decimal(38, 12) COMMENT 'Cost in the ledger, in USD',
    billed_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost on the bill, in USD; NULL: it does not say',
    token_drift Nullable(Float64) COMMENT 'Recorded tokens less billed, as a part of billed',
    cost_drift Nullable(Float64) COMMENT 'Recorded cost less billed, as a part of billed',
    reason LowCardinality(String) COMMENT 'Likely reason of the drift; empty: within the threshold',
    detail String COMMENT 'What the reason was concluded from',
    threshold Float64 COMMENT 'Drift that was allowed, as a part of billed',
    is_within Bool COMMENT 'Whether the line is within the threshold'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.run_id, l.run_at, l.provider, l.source, l.day, l.model_name, l.project, l.charge,
    l.recorded_calls, l.billed_requests, l.recorded_tokens, l.billed_tokens, l.recorded_cost_usd,
    l.billed_cost_usd, l.token_drift, l.cost_drift, l.reason, l.detail, l.threshold, l.is_within
FROM {database}.reconciliation_lines AS l
WHERE l.charge != '' AND (l.provider, l.day, l.run_at) IN (
    SELECT provider, day, max(run_at) FROM {database}.reconciliation_lines GROUP BY provider, day)
COMMENT 'The latest reconciliation of each provider and day';

CREATE VIEW {database}.bill_runs {on_cluster}
(
    provider LowCardinality(String) COMMENT 'Whose bill: openai, anthropic, or the name given to it',
    run_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was last compared (UTC), by schedule or by hand; NULL: never',
    run_by String COMMENT 'Who compared it: the schedule of the collector, or an account and host by hand',
    notes Array(String) COMMENT 'What to know of the bill as it was read then',
    scheduled_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the schedule of the collector last compared it (UTC); NULL: never',
    failed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the schedule last failed (UTC), where nothing was compared since; NULL: it did not',
    error String COMMENT 'Why it failed; empty: it did not'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT r.provider AS provider, maxOrNullIf(r.run_at, r.error = '') AS run_at,
    argMaxIf(if(r.is_scheduled, 'the collector', r.run_by), r.run_at, r.error = '') AS run_by,
    argMaxIf(r.notes, r.run_at, r.error = '') AS notes,
    maxOrNullIf(r.run_at, r.error = '' AND r.is_scheduled) AS scheduled_at,
    if(argMax(r.error, (r.run_at, r.error)) = '', NULL, max(r.run_at)) AS failed_at,
    argMax(r.error, (r.run_at, r.error)) AS error
FROM {database}.reconciliation_runs AS r
GROUP BY r.provider
COMMENT 'When each bill was last compared, and what failed since';
