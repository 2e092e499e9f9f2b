-- The ledger: one row an entry, append-only, every figure a sum().
CREATE TABLE {database}.llm_calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request left the application (UTC, microseconds)',
    entry_kind LowCardinality(String) COMMENT 'call, reversal (of a call found to be a duplicate) or price_change (the difference a new price makes)',
    sign Int8 COMMENT 'Calls this entry adds: 1 for a call, -1 for a reversal, 0 for a price change; count calls with sum(sign)',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the span; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String CODEC(ZSTD(1)) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    conversation_id String CODEC(ZSTD(1)) COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)) COMMENT 'Free tags: tallyspan.tag.<key> of the span',
    provider_name LowCardinality(String) COMMENT 'gen_ai.provider.name: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    server_address LowCardinality(String) COMMENT 'Host the request was sent to',
    operation_name LowCardinality(String) COMMENT 'gen_ai.operation.name: chat, embeddings, generate_content, ...',
    request_model LowCardinality(String) COMMENT 'Model asked for',
    response_model LowCardinality(String) COMMENT 'Model the provider says it used; empty when it did not say',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: the response model, else the request model',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty when it did not say',
    is_stream Bool COMMENT 'Whether the answer was streamed',
    status LowCardinality(String) COMMENT 'ok or error',
    error_type LowCardinality(String) COMMENT 'error.type of the span: an HTTP status or an exception; empty when ok',
    finish_reason LowCardinality(String) COMMENT 'Why the model stopped (first choice)',
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache reads and writes, audio and images included; NULL: unknown',
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning and audio included; NULL: unknown',
    cache_read_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens read from the provider cache; NULL: not stated',
    cache_write_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens written to the provider cache; NULL: not stated',
    cache_write_1h_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of cache_write_tokens kept for one hour; NULL: not stated',
    cache_read_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of cache_read_tokens that was audio; NULL: not stated',
    reasoning_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens spent on reasoning; NULL: not stated',
    input_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens that was audio; NULL: not stated',
    output_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens that was audio; NULL: not stated',
    input_image_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens that was images; NULL: not stated',
    output_image_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens that was images; NULL: not stated',
    usage_source LowCardinality(String) COMMENT 'Where the token counts come from: provider, estimated or unknown',
    cost_usd Nullable(Decimal(18, 12)) CODEC(T64, ZSTD(1)) COMMENT 'Cost in USD, exact to the pico-dollar; NULL: not priced, see cost_status',
    input_cost_usd Nullable(Decimal(18, 12)) CODEC(T64, ZSTD(1)) COMMENT 'Part of cost_usd for the prompt, in USD',
    output_cost_usd Nullable(Decimal(18, 12)) CODEC(T64, ZSTD(1)) COMMENT 'Part of cost_usd for the answer, in USD',
    cost_status LowCardinality(String) COMMENT 'priced; reported (the provider stated the cost); unpriced (no price or no tokens, see unpriced_reason); not_billed (the provider refused the request)',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_id LowCardinality(String) COMMENT 'Price entry that was used',
    price_source LowCardinality(String) COMMENT 'Where that price comes from: models_pricing.yaml, genai-prices <version> or provider',
    reported_cost_usd Nullable(Decimal(18, 12)) CODEC(T64, ZSTD(1)) COMMENT 'Cost in USD as the provider itself stated it; NULL: it did not',
    duration_us UInt64 CODEC(T64, ZSTD(1)) COMMENT 'From the request to the last byte of the answer, in microseconds',
    time_to_first_chunk_us Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'From the request to the first chunk of a stream, in microseconds; NULL: no stream',
    trace_id FixedString(32) CODEC(ZSTD(1)) COMMENT 'Trace id, 32 lower-case hex digits',
    span_id FixedString(16) CODEC(ZSTD(1)) COMMENT 'Span id, 16 lower-case hex digits',
    parent_span_id String CODEC(ZSTD(1)) COMMENT 'Span id of the parent, hex; empty for a root span',
    response_id String CODEC(ZSTD(1)) COMMENT 'Id the provider gave its answer; empty when it gave none',
    scope_name LowCardinality(String) COMMENT 'Instrumentation scope that made the span',
    batch_id UInt64 CODEC(ZSTD(1)) COMMENT 'Batch the entry was inserted with',
    ingested_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the collector priced the entry (UTC, milliseconds)',
    INDEX ix_conversation conversation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_batch batch_id TYPE minmax GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY toYYYYMM(start_time)
ORDER BY (tenant, toStartOfHour(start_time), model_name, user_id, start_time)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Ledger of LLM calls: signed, append-only entries; every total is a sum()';

CREATE VIEW {database}.calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    tenant String COMMENT 'Organisation the call belongs to',
    source String COMMENT 'Name of the ingest key that delivered the span',
    service_name String COMMENT 'service.name of the emitting service',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department String COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call',
    agent_name String COMMENT 'Name of that agent',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to',
    provider_name String COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id String COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    operation_name String COMMENT 'chat, embeddings, generate_content, ...',
    request_model String COMMENT 'Model asked for',
    model_name String COMMENT 'Model used: as the provider names it, else as asked for',
    service_tier String COMMENT 'Tier the provider served',
    is_stream Bool COMMENT 'Whether the answer was streamed',
    status String COMMENT 'ok or error',
    error_type String COMMENT 'HTTP status or exception; empty when ok',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Part of input_tokens read from the cache',
    cache_write_tokens Nullable(Int64) COMMENT 'Part of input_tokens written to the cache',
    reasoning_tokens Nullable(Int64) COMMENT 'Part of output_tokens spent on reasoning',
    usage_source String COMMENT 'Where the counts come from: provider, estimated or unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD, net of reversals and price changes; NULL: not priced',
    cost_status String COMMENT 'priced, reported, unpriced or not_billed',
    unpriced_reason String COMMENT 'Why there is no cost; empty when there is one',
    price_source String COMMENT 'Where the price comes from',
    duration_us UInt64 COMMENT 'Duration of the call in microseconds',
    time_to_first_chunk_us Nullable(UInt64) COMMENT 'Time to the first chunk of a stream, in microseconds',
    trace_id String COMMENT 'Trace id, hex',
    span_id String COMMENT 'Span id, hex',
    response_id String COMMENT 'Id the provider gave its answer',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When the collector last booked the call (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    start_time,
    concat(toString(trace_id), '-', toString(span_id)) AS log_id,
    toString(tenant) AS tenant, toString(any(l.source)) AS source,
    toString(service_name) AS service_name, user_id, toString(department) AS department,
    agent_id, toString(any(l.agent_name)) AS agent_name, conversation_id,
    toString(provider_name) AS provider_name, toString(endpoint_id) AS endpoint_id,
    toString(operation_name) AS operation_name, toString(any(l.request_model)) AS request_model,
    toString(model_name) AS model_name, toString(any(l.service_tier)) AS service_tier,
    any(l.is_stream) AS is_stream, toString(any(l.status)) AS status,
    toString(any(l.error_type)) AS error_type,
    sum(l.input_tokens) AS input_tokens, sum(l.output_tokens) AS output_tokens,
    if(sum(l.input_tokens) IS NULL AND sum(l.output_tokens) IS NULL, NULL,
       ifNull(sum(l.input_tokens), 0) + ifNull(sum(l.output_tokens), 0)) AS total_tokens,
    sum(l.cache_read_tokens) AS cache_read_tokens, sum(l.cache_write_tokens) AS cache_write_tokens,
    sum(l.reasoning_tokens) AS reasoning_tokens, toString(any(l.usage_source)) AS usage_source,
    sum(l.cost_usd) AS cost_usd,
    toString(argMax(l.cost_status, l.ingested_at)) AS cost_status,
    toString(argMax(l.unpriced_reason, l.ingested_at)) AS unpriced_reason,
    toString(argMax(l.price_source, l.ingested_at)) AS price_source,
    max(l.duration_us) AS duration_us, max(l.time_to_first_chunk_us) AS time_to_first_chunk_us,
    toString(trace_id) AS trace_id, toString(span_id) AS span_id,
    any(l.response_id) AS response_id, max(l.ingested_at) AS ingested_at
FROM {database}.llm_calls AS l
GROUP BY tenant, start_time, service_name, user_id, department, agent_id, conversation_id,
    provider_name, endpoint_id, operation_name, model_name, l.trace_id, l.span_id
HAVING sum(l.sign) > 0
COMMENT 'One row a call, net of reversals and price changes; no content, nothing secret';

CREATE VIEW {database}.token_usage {on_cluster}
(
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department String COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call; empty for none',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name String COMMENT 'Model used: as the provider names it, else as asked for',
    endpoint_id String COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    prompt_tokens Nullable(Int64) COMMENT 'Tokens billed as prompt, cache included; NULL: unknown',
    completion_tokens Nullable(Int64) COMMENT 'Tokens generated, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'prompt_tokens + completion_tokens; NULL: unknown',
    estimated_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD, exact to the pico-dollar; NULL: not priced',
    timestamp DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    log_id, user_id, department, agent_id, conversation_id, model_name, endpoint_id,
    input_tokens AS prompt_tokens, output_tokens AS completion_tokens, total_tokens,
    cost_usd AS estimated_cost_usd, start_time AS timestamp
FROM {database}.calls
COMMENT 'One row a call, net: who, which model, how many tokens, what it cost';
