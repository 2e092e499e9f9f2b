-- Which calls have been corrected since they were booked. The view `calls` asked the ledger itself for
-- that, all of it each time; joined by the time too, a range of calls reads the corrections of that
-- range. While this runs no other collector should be writing.

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

-- Began half-way, it begins anew.
TRUNCATE TABLE {database}.corrected_calls {on_cluster};

INSERT INTO {database}.corrected_calls{all} (start_time, call_hash, corrections)
SELECT l.start_time AS start_time, cityHash64(l.trace_id, l.span_id) AS call_hash, toInt64(1) AS corrections
FROM {database}.llm_calls{all} AS l
WHERE l.entry_kind != 'call'
SETTINGS max_insert_threads = 1, insert_deduplicate = 0, async_insert = 0;

CREATE MATERIALIZED VIEW {database}.corrected_calls_feed {on_cluster} TO {database}.corrected_calls
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT l.start_time, cityHash64(l.trace_id, l.span_id) AS call_hash, toInt64(count()) AS corrections
FROM {database}.llm_calls AS l
WHERE l.entry_kind != 'call'
GROUP BY l.start_time, call_hash
COMMENT 'Adds every reversal and price change of llm_calls to corrected_calls';

-- A call that no later entry speaks of is its own row; the few others are added up. A hash that two
-- calls of the same microsecond share only sends both to the second half, which groups by the ids.
-- Both halves have the same types, or a condition would reach no index through the conversion.
CREATE OR REPLACE VIEW {database}.calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the span',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    operation_name LowCardinality(String) COMMENT 'chat, embeddings, generate_content, ...',
    request_model LowCardinality(String) COMMENT 'Model asked for',
    model_name LowCardinality(String) COMMENT 'Model used: as the provider names it, else as asked for',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served',
    is_stream Bool COMMENT 'Whether the answer was streamed',
    status LowCardinality(String) COMMENT 'ok or error',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception; empty when ok',
    finish_reason LowCardinality(String) COMMENT 'Why the model stopped (first choice)',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Part of input_tokens read from the cache; NULL: not stated',
    cache_write_tokens Nullable(Int64) COMMENT 'Part of input_tokens written to the cache; NULL: not stated',
    reasoning_tokens Nullable(Int64) COMMENT 'Part of output_tokens spent on reasoning; NULL: not stated',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD, net of reversals and price changes; 0 when notional; NULL: not priced',
    input_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Part of the price for the prompt, in USD',
    output_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Part of the price for the answer, in USD',
    notional_cost_usd Nullable(Decimal(38, 12)) COMMENT 'What a call on a subscription would have cost, in USD; it is not billed; NULL: billed or not priced',
    claimed_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD as the software that sent the span computed it; for comparison only',
    reported_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD as the provider itself stated it; NULL: it did not',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost; empty when there is one',
    price_id LowCardinality(String) COMMENT 'Price entry that was used',
    price_source LowCardinality(String) COMMENT 'Where the price comes from',
    duration_us UInt64 COMMENT 'Duration of the call in microseconds',
    time_to_first_chunk_us Nullable(UInt64) COMMENT 'Time to the first chunk of a stream, in microseconds; NULL: no stream',
    tags Map(LowCardinality(String), String) COMMENT 'Free tags of the span',
    units Map(LowCardinality(String), Float64) COMMENT 'What is billed beside tokens, by kind',
    quality_flags Array(LowCardinality(String)) COMMENT 'What is doubtful about the call; empty when nothing is',
    trace_id String COMMENT 'Trace id, hex',
    span_id String COMMENT 'Span id, hex',
    parent_span_id String COMMENT 'Span id of the parent, hex; empty for a root span',
    part LowCardinality(String) COMMENT 'Kind of a model call inside the answer of another; empty for a call of its own',
    response_id String COMMENT 'Id the provider gave its answer, kept for 45 days',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When the collector last booked the call (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.start_time,
    concat(toString(l.trace_id), '-', toString(l.span_id)) AS log_id,
    l.tenant,
    l.source,
    l.service_name,
    l.user_id,
    l.department,
    l.agent_id,
    l.agent_name,
    l.conversation_id,
    l.provider_name,
    l.endpoint_id,
    l.operation_name,
    l.request_model,
    l.model_name,
    l.service_tier,
    l.is_stream,
    l.status,
    l.error_type,
    l.finish_reason,
    l.input_tokens,
    l.output_tokens,
    if(l.input_tokens IS NULL AND l.output_tokens IS NULL, NULL, ifNull(l.input_tokens, 0) + ifNull(l.output_tokens, 0)) AS total_tokens,
    l.cache_read_tokens,
    l.cache_write_tokens,
    l.reasoning_tokens,
    l.usage_source,
    if(l.is_notional, 0, l.cost_usd) AS cost_usd,
    l.input_cost_usd,
    l.output_cost_usd,
    if(l.is_notional, l.cost_usd, NULL) AS notional_cost_usd,
    l.claimed_cost_usd,
    l.reported_cost_usd,
    if(l.is_notional, 'notional', l.cost_status) AS cost_status,
    l.unpriced_reason,
    l.price_id,
    l.price_source,
    l.duration_us,
    l.time_to_first_chunk_us,
    l.tags,
    l.units,
    l.quality_flags,
    toString(l.trace_id) AS trace_id,
    toString(l.span_id) AS span_id,
    l.parent_span_id,
    l.part,
    l.response_id,
    l.ingested_at
FROM {database}.llm_calls{all} AS l
GLOBAL ANTI LEFT JOIN {database}.corrected_calls{all} AS x
    ON x.start_time = l.start_time AND x.call_hash = cityHash64(l.trace_id, l.span_id)
WHERE l.entry_kind = 'call'
UNION ALL
SELECT
    l.start_time,
    concat(toString(l.trace_id), '-', toString(l.span_id)) AS log_id,
    l.tenant,
    toLowCardinality(argMaxIf(l.source, l.ingested_at, l.sign >= 0)) AS source,
    l.service_name,
    l.user_id,
    l.department,
    l.agent_id,
    toLowCardinality(argMaxIf(l.agent_name, l.ingested_at, l.sign >= 0)) AS agent_name,
    l.conversation_id,
    l.provider_name,
    l.endpoint_id,
    l.operation_name,
    toLowCardinality(argMaxIf(l.request_model, l.ingested_at, l.sign >= 0)) AS request_model,
    l.model_name,
    toLowCardinality(argMaxIf(l.service_tier, l.ingested_at, l.sign >= 0)) AS service_tier,
    argMaxIf(l.is_stream, l.ingested_at, l.sign >= 0) AS is_stream,
    toLowCardinality(argMaxIf(l.status, l.ingested_at, l.sign >= 0)) AS status,
    toLowCardinality(argMaxIf(l.error_type, l.ingested_at, l.sign >= 0)) AS error_type,
    toLowCardinality(argMaxIf(l.finish_reason, l.ingested_at, l.sign >= 0)) AS finish_reason,
    sum(l.input_tokens) AS input_tokens,
    sum(l.output_tokens) AS output_tokens,
    if(sum(l.input_tokens) IS NULL AND sum(l.output_tokens) IS NULL, NULL, ifNull(sum(l.input_tokens), 0) + ifNull(sum(l.output_tokens), 0)) AS total_tokens,
    sum(l.cache_read_tokens) AS cache_read_tokens,
    sum(l.cache_write_tokens) AS cache_write_tokens,
    sum(l.reasoning_tokens) AS reasoning_tokens,
    toLowCardinality(argMaxIf(l.usage_source, l.ingested_at, l.sign >= 0)) AS usage_source,
    if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), 0, sum(l.cost_usd)) AS cost_usd,
    sum(l.input_cost_usd) AS input_cost_usd,
    sum(l.output_cost_usd) AS output_cost_usd,
    if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), sum(l.cost_usd), NULL) AS notional_cost_usd,
    sum(l.claimed_cost_usd) AS claimed_cost_usd,
    sum(l.reported_cost_usd) AS reported_cost_usd,
    toLowCardinality(if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), 'notional', argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0))) AS cost_status,
    toLowCardinality(argMaxIf(l.unpriced_reason, l.ingested_at, l.sign >= 0)) AS unpriced_reason,
    toLowCardinality(argMaxIf(l.price_id, l.ingested_at, l.sign >= 0)) AS price_id,
    toLowCardinality(argMaxIf(l.price_source, l.ingested_at, l.sign >= 0)) AS price_source,
    argMaxIf(l.duration_us, l.ingested_at, l.sign >= 0) AS duration_us,
    argMaxIf(l.time_to_first_chunk_us, l.ingested_at, l.sign >= 0) AS time_to_first_chunk_us,
    CAST(argMaxIf(l.tags, l.ingested_at, l.sign >= 0), 'Map(LowCardinality(String), String)') AS tags,
    CAST(argMaxIf(l.units, l.ingested_at, l.sign >= 0), 'Map(LowCardinality(String), Float64)') AS units,
    CAST(argMaxIf(l.quality_flags, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS quality_flags,
    toString(l.trace_id) AS trace_id,
    toString(l.span_id) AS span_id,
    argMaxIf(l.parent_span_id, l.ingested_at, l.sign >= 0) AS parent_span_id,
    toLowCardinality(argMaxIf(l.part, l.ingested_at, l.sign >= 0)) AS part,
    argMaxIf(l.response_id, l.ingested_at, l.sign >= 0) AS response_id,
    max(l.ingested_at) AS ingested_at
FROM {database}.llm_calls{all} AS l
GLOBAL SEMI LEFT JOIN {database}.corrected_calls{all} AS x
    ON x.start_time = l.start_time AND x.call_hash = cityHash64(l.trace_id, l.span_id)
GROUP BY l.start_time, l.tenant, l.service_name, l.user_id, l.department, l.agent_id, l.conversation_id, l.provider_name, l.endpoint_id, l.operation_name, l.model_name, l.trace_id, l.span_id
HAVING sum(l.sign) > 0
COMMENT 'One row a call, net of reversals and price changes; no content, nothing secret'
