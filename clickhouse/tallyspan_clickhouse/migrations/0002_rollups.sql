-- Rollups follow the entries by construction: each measure is a sum over signed entries, so a
-- reversal or a price change that reaches the ledger reaches them in the same insert.
CREATE TABLE {database}.rollup_daily {on_cluster}
(
    day Date COMMENT 'Day of start_time (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    model_name LowCardinality(String) COMMENT 'Model used',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the calls were made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
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
ORDER BY (tenant, day, model_name, user_id, department, provider_name, endpoint_id, service_name)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by day, user and model; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_daily_feed {on_cluster} TO {database}.rollup_daily
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toDate(l.start_time) AS day,
    l.tenant,
    l.model_name,
    l.user_id,
    l.department,
    l.provider_name,
    l.endpoint_id,
    l.service_name,
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
GROUP BY day, l.tenant, l.model_name, l.user_id, l.department, l.provider_name, l.endpoint_id, l.service_name
COMMENT 'Adds every entry of llm_calls to rollup_daily';

CREATE TABLE {database}.rollup_hourly {on_cluster}
(
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    model_name LowCardinality(String) COMMENT 'Model used',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String CODEC(ZSTD(1)) COMMENT 'Agent or assistant that made the calls',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    operation_name LowCardinality(String) COMMENT 'chat, embeddings, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception; empty when ok',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the spans',
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
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, model_name, department, agent_id, service_name, provider_name, endpoint_id, operation_name, service_tier, error_type, source)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000
COMMENT 'Calls, tokens and cost by hour, model, department, agent and endpoint; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_hourly_feed {on_cluster} TO {database}.rollup_hourly
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toStartOfHour(l.start_time) AS hour,
    l.tenant,
    l.model_name,
    l.department,
    l.agent_id,
    l.service_name,
    l.provider_name,
    l.endpoint_id,
    l.operation_name,
    l.service_tier,
    l.error_type,
    l.source,
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
GROUP BY hour, l.tenant, l.model_name, l.department, l.agent_id, l.service_name, l.provider_name, l.endpoint_id, l.operation_name, l.service_tier, l.error_type, l.source
COMMENT 'Adds every entry of llm_calls to rollup_hourly';

CREATE VIEW {database}.usage_daily {on_cluster}
(
    day Date COMMENT 'Day (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    model_name LowCardinality(String) COMMENT 'Model used',
    user_id String COMMENT 'Whom the calls were made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
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
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; NULL: none is priced',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.day,
    r.tenant,
    r.model_name,
    r.user_id,
    r.department,
    r.provider_name,
    r.endpoint_id,
    r.service_name,
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
    if(sum(r.input_stated) = 0, NULL, sum(r.input_tokens)) AS input_tokens,
    if(sum(r.output_stated) = 0, NULL, sum(r.output_tokens)) AS output_tokens,
    if(sum(r.input_stated) = 0 AND sum(r.output_stated) = 0, NULL,
        sum(r.input_tokens) + sum(r.output_tokens)) AS total_tokens,
    if(sum(r.cache_read_stated) = 0, NULL, sum(r.cache_read_tokens)) AS cache_read_tokens,
    if(sum(r.cache_write_stated) = 0, NULL, sum(r.cache_write_tokens)) AS cache_write_tokens,
    if(sum(r.reasoning_stated) = 0, NULL, sum(r.reasoning_tokens)) AS reasoning_tokens,
    if(sum(r.calls) = sum(r.unpriced_calls), NULL, sum(r.cost_usd)) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us
FROM {database}.rollup_daily{all} AS r
GROUP BY r.day, r.tenant, r.model_name, r.user_id, r.department, r.provider_name, r.endpoint_id, r.service_name
HAVING sum(r.calls) != 0
COMMENT 'Calls, tokens and cost by UTC day, user and model; add up with sum()';

CREATE VIEW {database}.usage_hourly {on_cluster}
(
    hour DateTime('UTC') COMMENT 'Hour (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    model_name LowCardinality(String) COMMENT 'Model used',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the calls',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint the calls went to',
    operation_name LowCardinality(String) COMMENT 'chat, embeddings, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception; empty when ok',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the spans',
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
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Prompt tokens read from the cache; NULL: unknown',
    cache_write_tokens Nullable(Int64) COMMENT 'Prompt tokens written to the cache; NULL: unknown',
    reasoning_tokens Nullable(Int64) COMMENT 'Generated tokens spent on reasoning; NULL: unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; NULL: none is priced',
    input_cost_usd Decimal(38, 12) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls on a subscription would have cost, in USD',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.hour,
    r.tenant,
    r.model_name,
    r.department,
    r.agent_id,
    r.service_name,
    r.provider_name,
    r.endpoint_id,
    r.operation_name,
    r.service_tier,
    r.error_type,
    r.source,
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
    if(sum(r.input_stated) = 0, NULL, sum(r.input_tokens)) AS input_tokens,
    if(sum(r.output_stated) = 0, NULL, sum(r.output_tokens)) AS output_tokens,
    if(sum(r.input_stated) = 0 AND sum(r.output_stated) = 0, NULL,
        sum(r.input_tokens) + sum(r.output_tokens)) AS total_tokens,
    if(sum(r.cache_read_stated) = 0, NULL, sum(r.cache_read_tokens)) AS cache_read_tokens,
    if(sum(r.cache_write_stated) = 0, NULL, sum(r.cache_write_tokens)) AS cache_write_tokens,
    if(sum(r.reasoning_stated) = 0, NULL, sum(r.reasoning_tokens)) AS reasoning_tokens,
    if(sum(r.calls) = sum(r.unpriced_calls), NULL, sum(r.cost_usd)) AS cost_usd,
    sum(r.input_cost_usd) AS input_cost_usd,
    sum(r.output_cost_usd) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.duration_us) AS duration_us,
    sum(r.first_chunk_us) AS first_chunk_us
FROM {database}.rollup_hourly{all} AS r
GROUP BY r.hour, r.tenant, r.model_name, r.department, r.agent_id, r.service_name, r.provider_name, r.endpoint_id, r.operation_name, r.service_tier, r.error_type, r.source
HAVING sum(r.calls) != 0
COMMENT 'Calls, tokens and cost by hour, model, department, agent and endpoint; add up with sum()';

CREATE VIEW {database}.conversations {on_cluster}
(
    conversation_id String COMMENT 'Conversation, chat or session',
    tenant LowCardinality(String) COMMENT 'Organisation it belongs to',
    users Array(String) COMMENT 'Whom its calls were made for',
    departments Array(LowCardinality(String)) COMMENT 'Departments that pay for it',
    agents Array(String) COMMENT 'Agents that took part',
    models Array(LowCardinality(String)) COMMENT 'Models that were used',
    first_call DateTime64(6, 'UTC') COMMENT 'When its first call began (UTC)',
    last_call DateTime64(6, 'UTC') COMMENT 'When its last call began (UTC)',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; NULL: none is priced',
    notional_cost_usd Decimal(38, 12) COMMENT 'What its calls on a subscription would have cost, in USD',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.conversation_id,
    l.tenant,
    arraySort(groupUniqArrayIf(l.user_id, l.user_id != '')) AS users,
    arraySort(groupUniqArrayIf(l.department, l.department != '')) AS departments,
    arraySort(groupUniqArrayIf(l.agent_id, l.agent_id != '')) AS agents,
    arraySort(groupUniqArray(l.model_name)) AS models,
    min(l.start_time) AS first_call,
    max(l.start_time) AS last_call,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    if(sum(l.sign * isNotNull(l.input_tokens)) = 0, NULL, sum(l.input_tokens)) AS input_tokens,
    if(sum(l.sign * isNotNull(l.output_tokens)) = 0, NULL, sum(l.output_tokens)) AS output_tokens,
    if(sum(l.sign * (isNotNull(l.input_tokens) OR isNotNull(l.output_tokens))) = 0, NULL,
        ifNull(sum(l.input_tokens), 0) + ifNull(sum(l.output_tokens), 0)) AS total_tokens,
    if(sum(l.sign) = sum(l.unpriced_calls), NULL,
        sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), NOT l.is_notional)) AS cost_usd,
    sumIf(ifNull(l.cost_usd, toDecimal64(0, 12)), l.is_notional) AS notional_cost_usd,
    sum(l.unpriced_calls) AS unpriced_calls
FROM {database}.llm_calls{all} AS l
WHERE l.conversation_id != ''
GROUP BY l.tenant, l.conversation_id
HAVING sum(l.sign) > 0
COMMENT 'One row a conversation, net; name a conversation_id, all of them is a read of the whole ledger';

CREATE VIEW {database}.data_health {on_cluster}
(
    hour DateTime('UTC') COMMENT 'Hour the calls began in (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the spans',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    model_name LowCardinality(String) COMMENT 'Model used',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated',
    unpriced_calls Int64 COMMENT 'Calls without a price',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.hour, r.tenant, r.source, r.service_name, r.provider_name, r.model_name,
    sum(r.calls) AS calls, sum(r.errors) AS errors, sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls, sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens, sum(r.flagged_calls) AS flagged_calls,
    sum(r.reversals) AS reversals, sum(r.price_changes) AS price_changes
FROM {database}.rollup_hourly{all} AS r
GROUP BY r.hour, r.tenant, r.source, r.service_name, r.provider_name, r.model_name
COMMENT 'How far the figures can be trusted, by hour, source, service and model';
