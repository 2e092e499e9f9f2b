-- The same sums by less: what a page first shows is asked of few rows, and what is narrowed down by
-- more of the rollups there are. Each is filled from the rollup that knows its columns, so that it has
-- the days whose entries have expired. While this runs no other collector should be writing.

CREATE TABLE {database}.rollup_totals {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model used',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls on a subscription',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; 0: unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; 0: unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; 0: unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; 0: unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; 0: unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds))'
)
ENGINE = {replicated}SummingMergeTree((
    calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens,
    notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens,
    input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated,
    cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd,
    input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us, durations,
    first_chunks
))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day, department, model_name, provider_name, endpoint_id)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by day, department, model and endpoint; kept when raw entries expire';

-- Began half-way, it begins anew.
TRUNCATE TABLE {database}.rollup_totals {on_cluster};

INSERT INTO {database}.rollup_totals{all} (tenant, day, department, model_name, provider_name, endpoint_id, calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us, durations, first_chunks)
SELECT
    r.tenant,
    r.day,
    r.department,
    r.model_name,
    r.provider_name,
    r.endpoint_id,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
    sum(r.streamed_calls) AS streamed_calls,
    sum(r.reversals) AS reversals,
    sum(r.price_changes) AS price_changes,
    sum(r.input_tokens) AS input_tokens,
    sum(r.input_stated) AS input_stated,
    sum(r.output_tokens) AS output_tokens,
    sum(r.output_stated) AS output_stated,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.cache_read_stated) AS cache_read_stated,
    sum(r.cache_write_tokens) AS cache_write_tokens,
    sum(r.cache_write_stated) AS cache_write_stated,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.reasoning_stated) AS reasoning_stated,
    sum(r.cost_usd) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us,
    sumMap(r.durations) AS durations,
    sumMap(r.first_chunks) AS first_chunks
FROM {database}.rollup_models{all} AS r
GROUP BY r.tenant, r.day, r.department, r.model_name, r.provider_name, r.endpoint_id
SETTINGS max_insert_threads = 1, insert_deduplicate = 0, async_insert = 0;

CREATE MATERIALIZED VIEW {database}.rollup_totals_feed {on_cluster} TO {database}.rollup_totals
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant,
    toDate(l.start_time) AS day,
    l.department,
    l.model_name,
    l.provider_name,
    l.endpoint_id,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * l.is_notional) AS notional_calls,
    sum(l.sign * notEmpty(l.quality_flags)) AS flagged_calls,
    sum(l.sign * isNotNull(l.time_to_first_chunk_us)) AS streamed_calls,
    countIf(l.entry_kind = 'reversal') AS reversals,
    countIf(l.entry_kind = 'price_change') AS price_changes,
    sum(ifNull(l.input_tokens, 0)) AS input_tokens,
    sum(l.sign * isNotNull(l.input_tokens)) AS input_stated,
    sum(ifNull(l.output_tokens, 0)) AS output_tokens,
    sum(l.sign * isNotNull(l.output_tokens)) AS output_stated,
    sum(ifNull(l.cache_read_tokens, 0)) AS cache_read_tokens,
    sum(l.sign * isNotNull(l.cache_read_tokens)) AS cache_read_stated,
    sum(ifNull(l.cache_write_tokens, 0)) AS cache_write_tokens,
    sum(l.sign * isNotNull(l.cache_write_tokens)) AS cache_write_stated,
    sum(ifNull(l.reasoning_tokens, 0)) AS reasoning_tokens,
    sum(l.sign * isNotNull(l.reasoning_tokens)) AS reasoning_stated,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS cost_usd,
    sumIf(ifNull(l.input_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS input_cost_usd,
    sumIf(ifNull(l.output_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS output_cost_usd,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), l.is_notional) AS notional_cost_usd,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us,
    sum(l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))) AS first_chunk_us,
    sumMap(CAST(map(toInt16(round(20 * log2(greatest(l.duration_us, 1)))), toInt64(l.sign)), 'Map(Int16, Int64)')) AS durations,
    sumMap(CAST(if(isNull(l.time_to_first_chunk_us), map(), map(toInt16(round(20 * log2(greatest(ifNull(l.time_to_first_chunk_us, 1), 1)))), toInt64(l.sign))), 'Map(Int16, Int64)')) AS first_chunks
FROM {database}.llm_calls AS l
GROUP BY l.tenant, day, l.department, l.model_name, l.provider_name, l.endpoint_id
COMMENT 'Adds every entry of llm_calls to rollup_totals';

CREATE VIEW {database}.usage_totals {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model used',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls on a subscription',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    streamed_calls Int64 COMMENT 'Calls with a time to the first chunk',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    input_stated Int64 COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    output_stated Int64 COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_read_stated Int64 COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    cache_write_stated Int64 COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    reasoning_stated Int64 COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks Map(Int16, Int64) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds))'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant,
    r.day,
    r.department,
    r.model_name,
    r.provider_name,
    r.endpoint_id,
    r.calls,
    r.errors,
    r.estimated_calls,
    r.unknown_usage_calls,
    r.unpriced_calls,
    r.unpriced_tokens,
    r.notional_calls,
    r.flagged_calls,
    r.streamed_calls,
    r.reversals,
    r.price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL,
        r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd,
    r.output_cost_usd,
    r.notional_cost_usd,
    r.duration_us,
    r.first_chunk_us,
    r.durations,
    r.first_chunks
FROM {database}.rollup_totals{all} AS r
COMMENT 'Calls, tokens and cost by UTC day, department, model and endpoint; several rows a group, so always sum() them';

CREATE TABLE {database}.rollup_users {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the calls were made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls on a subscription',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; 0: unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; 0: unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; 0: unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; 0: unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; 0: unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls'
)
ENGINE = {replicated}SummingMergeTree((
    calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens,
    notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens,
    input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated,
    cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd,
    input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us
))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day, user_id, department)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by day and user; kept when raw entries expire';

TRUNCATE TABLE {database}.rollup_users {on_cluster};

INSERT INTO {database}.rollup_users{all} (tenant, day, user_id, department, calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us)
SELECT
    r.tenant,
    r.day,
    r.user_id,
    r.department,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
    sum(r.streamed_calls) AS streamed_calls,
    sum(r.reversals) AS reversals,
    sum(r.price_changes) AS price_changes,
    sum(r.input_tokens) AS input_tokens,
    sum(r.input_stated) AS input_stated,
    sum(r.output_tokens) AS output_tokens,
    sum(r.output_stated) AS output_stated,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.cache_read_stated) AS cache_read_stated,
    sum(r.cache_write_tokens) AS cache_write_tokens,
    sum(r.cache_write_stated) AS cache_write_stated,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.reasoning_stated) AS reasoning_stated,
    sum(r.cost_usd) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us
FROM {database}.rollup_daily{all} AS r
GROUP BY r.tenant, r.day, r.user_id, r.department
SETTINGS max_insert_threads = 1, insert_deduplicate = 0, async_insert = 0;

CREATE MATERIALIZED VIEW {database}.rollup_users_feed {on_cluster} TO {database}.rollup_users
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant,
    toDate(l.start_time) AS day,
    l.user_id,
    l.department,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * l.is_notional) AS notional_calls,
    sum(l.sign * notEmpty(l.quality_flags)) AS flagged_calls,
    sum(l.sign * isNotNull(l.time_to_first_chunk_us)) AS streamed_calls,
    countIf(l.entry_kind = 'reversal') AS reversals,
    countIf(l.entry_kind = 'price_change') AS price_changes,
    sum(ifNull(l.input_tokens, 0)) AS input_tokens,
    sum(l.sign * isNotNull(l.input_tokens)) AS input_stated,
    sum(ifNull(l.output_tokens, 0)) AS output_tokens,
    sum(l.sign * isNotNull(l.output_tokens)) AS output_stated,
    sum(ifNull(l.cache_read_tokens, 0)) AS cache_read_tokens,
    sum(l.sign * isNotNull(l.cache_read_tokens)) AS cache_read_stated,
    sum(ifNull(l.cache_write_tokens, 0)) AS cache_write_tokens,
    sum(l.sign * isNotNull(l.cache_write_tokens)) AS cache_write_stated,
    sum(ifNull(l.reasoning_tokens, 0)) AS reasoning_tokens,
    sum(l.sign * isNotNull(l.reasoning_tokens)) AS reasoning_stated,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS cost_usd,
    sumIf(ifNull(l.input_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS input_cost_usd,
    sumIf(ifNull(l.output_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS output_cost_usd,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), l.is_notional) AS notional_cost_usd,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us,
    sum(l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))) AS first_chunk_us
FROM {database}.llm_calls AS l
GROUP BY l.tenant, day, l.user_id, l.department
COMMENT 'Adds every entry of llm_calls to rollup_users';

CREATE VIEW {database}.usage_by_user {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String COMMENT 'Whom the calls were made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls on a subscription',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    streamed_calls Int64 COMMENT 'Calls with a time to the first chunk',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    input_stated Int64 COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    output_stated Int64 COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_read_stated Int64 COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    cache_write_stated Int64 COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    reasoning_stated Int64 COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant,
    r.day,
    r.user_id,
    r.department,
    r.calls,
    r.errors,
    r.estimated_calls,
    r.unknown_usage_calls,
    r.unpriced_calls,
    r.unpriced_tokens,
    r.notional_calls,
    r.flagged_calls,
    r.streamed_calls,
    r.reversals,
    r.price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL,
        r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd,
    r.output_cost_usd,
    r.notional_cost_usd,
    r.duration_us,
    r.first_chunk_us
FROM {database}.rollup_users{all} AS r
COMMENT 'Calls, tokens and cost by UTC day and user; several rows a group, so always sum() them';

CREATE TABLE {database}.rollup_agents {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    agent_id String CODEC(ZSTD(1)) COMMENT 'Agent or assistant that made the calls; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls on a subscription',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; 0: unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; 0: unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; 0: unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; 0: unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; 0: unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact'
)
ENGINE = {replicated}SummingMergeTree((
    calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens,
    notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens,
    input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated,
    cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd,
    input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us, durations
))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day, agent_id, agent_name, department)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by day and agent; kept when raw entries expire';

TRUNCATE TABLE {database}.rollup_agents {on_cluster};

INSERT INTO {database}.rollup_agents{all} (tenant, day, agent_id, agent_name, department, calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, duration_us, first_chunk_us, durations)
SELECT
    r.tenant,
    r.day,
    r.agent_id,
    r.agent_name,
    r.department,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
    sum(r.streamed_calls) AS streamed_calls,
    sum(r.reversals) AS reversals,
    sum(r.price_changes) AS price_changes,
    sum(r.input_tokens) AS input_tokens,
    sum(r.input_stated) AS input_stated,
    sum(r.output_tokens) AS output_tokens,
    sum(r.output_stated) AS output_stated,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.cache_read_stated) AS cache_read_stated,
    sum(r.cache_write_tokens) AS cache_write_tokens,
    sum(r.cache_write_stated) AS cache_write_stated,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.reasoning_stated) AS reasoning_stated,
    sum(r.cost_usd) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us,
    sumMap(r.durations) AS durations
FROM {database}.rollup_conversations{all} AS r
GROUP BY r.tenant, r.day, r.agent_id, r.agent_name, r.department
SETTINGS max_insert_threads = 1, insert_deduplicate = 0, async_insert = 0;

CREATE MATERIALIZED VIEW {database}.rollup_agents_feed {on_cluster} TO {database}.rollup_agents
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant,
    toDate(l.start_time) AS day,
    l.agent_id,
    l.agent_name,
    l.department,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * l.is_notional) AS notional_calls,
    sum(l.sign * notEmpty(l.quality_flags)) AS flagged_calls,
    sum(l.sign * isNotNull(l.time_to_first_chunk_us)) AS streamed_calls,
    countIf(l.entry_kind = 'reversal') AS reversals,
    countIf(l.entry_kind = 'price_change') AS price_changes,
    sum(ifNull(l.input_tokens, 0)) AS input_tokens,
    sum(l.sign * isNotNull(l.input_tokens)) AS input_stated,
    sum(ifNull(l.output_tokens, 0)) AS output_tokens,
    sum(l.sign * isNotNull(l.output_tokens)) AS output_stated,
    sum(ifNull(l.cache_read_tokens, 0)) AS cache_read_tokens,
    sum(l.sign * isNotNull(l.cache_read_tokens)) AS cache_read_stated,
    sum(ifNull(l.cache_write_tokens, 0)) AS cache_write_tokens,
    sum(l.sign * isNotNull(l.cache_write_tokens)) AS cache_write_stated,
    sum(ifNull(l.reasoning_tokens, 0)) AS reasoning_tokens,
    sum(l.sign * isNotNull(l.reasoning_tokens)) AS reasoning_stated,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS cost_usd,
    sumIf(ifNull(l.input_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS input_cost_usd,
    sumIf(ifNull(l.output_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS output_cost_usd,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), l.is_notional) AS notional_cost_usd,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us,
    sum(l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))) AS first_chunk_us,
    sumMap(CAST(map(toInt16(round(20 * log2(greatest(l.duration_us, 1)))), toInt64(l.sign)), 'Map(Int16, Int64)')) AS durations
FROM {database}.llm_calls AS l
GROUP BY l.tenant, day, l.agent_id, l.agent_name, l.department
COMMENT 'Adds every entry of llm_calls to rollup_agents';

CREATE VIEW {database}.usage_by_agent {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    agent_id String COMMENT 'Agent or assistant that made the calls; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls on a subscription',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    streamed_calls Int64 COMMENT 'Calls with a time to the first chunk',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    input_stated Int64 COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    output_stated Int64 COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_read_stated Int64 COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    cache_write_stated Int64 COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    reasoning_stated Int64 COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant,
    r.day,
    r.agent_id,
    r.agent_name,
    r.department,
    r.calls,
    r.errors,
    r.estimated_calls,
    r.unknown_usage_calls,
    r.unpriced_calls,
    r.unpriced_tokens,
    r.notional_calls,
    r.flagged_calls,
    r.streamed_calls,
    r.reversals,
    r.price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL,
        r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd,
    r.output_cost_usd,
    r.notional_cost_usd,
    r.duration_us,
    r.first_chunk_us,
    r.durations
FROM {database}.rollup_agents{all} AS r
COMMENT 'Calls, tokens and cost by UTC day and agent; several rows a group, so always sum() them';

CREATE TABLE {database}.rollup_services {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the spans',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls on a subscription',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; 0: unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; 0: unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; 0: unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; 0: unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; 0: unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls on a subscription would have cost, in USD',
    no_user_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that name no user',
    no_conversation_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that belong to no conversation',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    lags SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds))'
)
ENGINE = {replicated}SummingMergeTree((
    calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens,
    notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens,
    input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated,
    cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd,
    input_cost_usd, output_cost_usd, notional_cost_usd, no_user_calls, no_conversation_calls, duration_us,
    first_chunk_us, lags
))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day, service_name, source, department)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by day, emitting service and ingest key; kept when raw entries expire';

TRUNCATE TABLE {database}.rollup_services {on_cluster};

INSERT INTO {database}.rollup_services{all} (tenant, day, service_name, source, department, calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, no_user_calls, no_conversation_calls, duration_us, first_chunk_us, lags)
SELECT
    r.tenant,
    r.day,
    r.service_name,
    r.source,
    r.department,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
    sum(r.streamed_calls) AS streamed_calls,
    sum(r.reversals) AS reversals,
    sum(r.price_changes) AS price_changes,
    sum(r.input_tokens) AS input_tokens,
    sum(r.input_stated) AS input_stated,
    sum(r.output_tokens) AS output_tokens,
    sum(r.output_stated) AS output_stated,
    sum(r.cache_read_tokens) AS cache_read_tokens,
    sum(r.cache_read_stated) AS cache_read_stated,
    sum(r.cache_write_tokens) AS cache_write_tokens,
    sum(r.cache_write_stated) AS cache_write_stated,
    sum(r.reasoning_tokens) AS reasoning_tokens,
    sum(r.reasoning_stated) AS reasoning_stated,
    sum(r.cost_usd) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sumIf(r.calls, r.user_id = '') AS no_user_calls,
    sumIf(r.calls, r.conversation_id = '') AS no_conversation_calls,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us,
    sumMap(r.lags) AS lags
FROM {database}.rollup_conversations{all} AS r
GROUP BY r.tenant, r.day, r.service_name, r.source, r.department
SETTINGS max_insert_threads = 1, insert_deduplicate = 0, async_insert = 0;

CREATE MATERIALIZED VIEW {database}.rollup_services_feed {on_cluster} TO {database}.rollup_services
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant,
    toDate(l.start_time) AS day,
    l.service_name,
    l.source,
    l.department,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * l.is_notional) AS notional_calls,
    sum(l.sign * notEmpty(l.quality_flags)) AS flagged_calls,
    sum(l.sign * isNotNull(l.time_to_first_chunk_us)) AS streamed_calls,
    countIf(l.entry_kind = 'reversal') AS reversals,
    countIf(l.entry_kind = 'price_change') AS price_changes,
    sum(ifNull(l.input_tokens, 0)) AS input_tokens,
    sum(l.sign * isNotNull(l.input_tokens)) AS input_stated,
    sum(ifNull(l.output_tokens, 0)) AS output_tokens,
    sum(l.sign * isNotNull(l.output_tokens)) AS output_stated,
    sum(ifNull(l.cache_read_tokens, 0)) AS cache_read_tokens,
    sum(l.sign * isNotNull(l.cache_read_tokens)) AS cache_read_stated,
    sum(ifNull(l.cache_write_tokens, 0)) AS cache_write_tokens,
    sum(l.sign * isNotNull(l.cache_write_tokens)) AS cache_write_stated,
    sum(ifNull(l.reasoning_tokens, 0)) AS reasoning_tokens,
    sum(l.sign * isNotNull(l.reasoning_tokens)) AS reasoning_stated,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS cost_usd,
    sumIf(ifNull(l.input_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS input_cost_usd,
    sumIf(ifNull(l.output_cost_usd, toDecimal64(0, 12)), NOT l.is_notional) AS output_cost_usd,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), l.is_notional) AS notional_cost_usd,
    sum(l.sign * (l.user_id = '')) AS no_user_calls,
    sum(l.sign * (l.conversation_id = '')) AS no_conversation_calls,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us,
    sum(l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))) AS first_chunk_us,
    sumMap(CAST(map(toInt16(round(20 * log2(greatest(dateDiff('microsecond', l.start_time, l.ingested_at) - toInt64(l.duration_us), 1)))), toInt64(l.sign)), 'Map(Int16, Int64)')) AS lags
FROM {database}.llm_calls AS l
GROUP BY l.tenant, day, l.service_name, l.source, l.department
COMMENT 'Adds every entry of llm_calls to rollup_services';

CREATE VIEW {database}.usage_by_service {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    day Date COMMENT 'Day of start_time (UTC)',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the spans',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls on a subscription',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    streamed_calls Int64 COMMENT 'Calls with a time to the first chunk',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    input_stated Int64 COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    output_stated Int64 COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_read_stated Int64 COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    cache_write_stated Int64 COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    reasoning_stated Int64 COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    no_user_calls Int64 COMMENT 'Calls that name no user',
    no_conversation_calls Int64 COMMENT 'Calls that belong to no conversation',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    lags Map(Int16, Int64) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds))'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant,
    r.day,
    r.service_name,
    r.source,
    r.department,
    r.calls,
    r.errors,
    r.estimated_calls,
    r.unknown_usage_calls,
    r.unpriced_calls,
    r.unpriced_tokens,
    r.notional_calls,
    r.flagged_calls,
    r.streamed_calls,
    r.reversals,
    r.price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL,
        r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd,
    r.output_cost_usd,
    r.notional_cost_usd,
    r.no_user_calls,
    r.no_conversation_calls,
    r.duration_us,
    r.first_chunk_us,
    r.lags
FROM {database}.rollup_services{all} AS r
COMMENT 'Calls, tokens and cost by UTC day, emitting service and ingest key; several rows a group, so always sum() them';

-- As it was, of fewer rows.
CREATE OR REPLACE VIEW {database}.unknown_users {on_cluster}
(
    day Date COMMENT 'Day of the calls (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    user_id String COMMENT 'User the calls were made for',
    department LowCardinality(String) COMMENT 'Department the calls were booked to all the same; empty: none',
    reason LowCardinality(String) COMMENT 'unknown (the directory does not have the user) or not_valid (it has, but not for this day)',
    calls Int64 COMMENT 'Calls, net of reversals',
    total_tokens Int64 COMMENT 'Their tokens, as far as they are known',
    cost_usd Decimal(38, 12) COMMENT 'Their billed cost in USD; unpriced calls add nothing'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.day, r.tenant, r.user_id, r.department,
    if(empty(d.firsts), 'unknown', 'not_valid') AS reason,
    sum(r.calls) AS calls,
    sum(r.input_tokens) + sum(r.output_tokens) AS total_tokens,
    sum(r.cost_usd) AS cost_usd
FROM {database}.rollup_users{all} AS r
GLOBAL ANY LEFT JOIN (
    SELECT tenant, user_id, groupArray(valid_from) AS firsts, groupArray(valid_to) AS lasts
    FROM {database}.directory FINAL WHERE NOT is_removed GROUP BY tenant, user_id
) AS d ON d.tenant = r.tenant AND d.user_id = r.user_id
WHERE r.user_id != '' AND NOT arrayExists((f, t) -> f <= r.day AND r.day <= t, d.firsts, d.lasts)
GROUP BY r.day, r.tenant, r.user_id, r.department, reason
HAVING calls != 0
COMMENT 'Calls of users whom the directory does not have, by day'
