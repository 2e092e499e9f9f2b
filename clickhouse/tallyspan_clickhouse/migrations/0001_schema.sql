-- Made of schema.py and objects/ by `python -m tallyspan_clickhouse.generate`.

-- The ledger: one row an entry, append-only, every figure a sum().

CREATE TABLE {database}.llm_calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request left the application (UTC, microseconds)',
    entry_kind LowCardinality(String) COMMENT 'call, reversal (of a call found to be a duplicate), price_change (the difference a new price makes), correction (a call that is booked or taken back otherwise, as one that only LibreChat has), commitment (a share of what is paid whether it is used or not; of no call), imported (usage that the provider reports and no span tells of; of no call), true_up (what a bill has and the ledger has not, below 0 where it has less; of no call) or prior_period (a correction of a closed month, taken out of it and booked in an open one; of no call)',
    sign Int8 COMMENT 'Calls this entry adds: 1 for a call, -1 for a reversal, 0 for a price change and what is of no call; count calls with sum(sign)',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    department_source LowCardinality(String) COMMENT 'Who named the department: span, directory or key (of the ingest key); empty when nobody did',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    conversation_id String CODEC(ZSTD(1)) COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    request_model LowCardinality(String) COMMENT 'Model asked for',
    response_model LowCardinality(String) COMMENT 'Model as the answer names it; empty when it does not',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    server_address LowCardinality(String) COMMENT 'Host the request was sent to',
    is_stream Bool COMMENT 'Whether the answer was streamed',
    status LowCardinality(String) COMMENT 'How the call ended: ok or error',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    finish_reason LowCardinality(String) COMMENT 'Why the model stopped (first choice)',
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache reads and writes, audio and images included; NULL: unknown',
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning and audio included; NULL: unknown',
    cache_read_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens read from the provider\'s cache; NULL: not stated',
    cache_write_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens written to the provider\'s cache; NULL: not stated',
    cache_write_1h_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of cache_write_tokens kept for one hour; NULL: not stated',
    cache_read_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of cache_read_tokens that was audio; NULL: not stated',
    reasoning_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens spent on reasoning; NULL: not stated',
    input_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens that was audio; NULL: not stated',
    output_audio_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens that was audio; NULL: not stated',
    input_image_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of input_tokens that was images; NULL: not stated',
    output_image_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Part of output_tokens that was images; NULL: not stated',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Cost of the entry in USD, exact to the pico-dollar; NULL: not priced, see cost_status',
    input_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Part of cost_usd for the prompt, in USD',
    output_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Part of cost_usd for the answer, in USD',
    cache_saved_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'What the provider\'s cache saved, in USD: the cost with all reads and writes as plain input, less the cost; below 0: writes cost more than reads saved; NULL: no cache used, or not priced',
    cost_status LowCardinality(String) COMMENT 'priced, reported (the provider stated the cost), unpriced (no price or no tokens, see unpriced_reason) or not_billed (the request was refused, or never left the client); of a commitment: commitment, plan or unused',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_id LowCardinality(String) COMMENT 'Price entry that was used',
    price_source LowCardinality(String) COMMENT 'Where that price comes from: models_pricing.yaml, genai-prices <version> or provider',
    price_flags Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'What is doubtful about the price: deployment_unknown, unpriced_meter, ...; empty when nothing is',
    other_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'What the call costs if what price_flags doubts is decided the other way, in USD; NULL: nothing is in doubt',
    reported_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Cost in USD as the provider itself stated it; NULL: it did not',
    claimed_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Cost in USD as the software that sent the span computed it, for comparison only; NULL: it did not',
    is_notional Bool DEFAULT false COMMENT 'Paid by a subscription or a commitment: cost_usd is what the call would have cost and is never billed',
    unpriced_calls Int8 DEFAULT if(cost_status = 'unpriced' AND NOT is_notional AND entry_kind != 'price_change', sign, 0) COMMENT 'Unpriced calls this entry adds; -1 in the price change that prices one; count with sum()',
    unpriced_tokens Int64 DEFAULT if(cost_status = 'unpriced' AND NOT is_notional AND entry_kind != 'price_change', ifNull(input_tokens, 0) + ifNull(output_tokens, 0), 0) CODEC(T64, ZSTD(1)) COMMENT 'Tokens without a price this entry adds; a price change takes them back',
    duration_us UInt64 CODEC(T64, ZSTD(1)) COMMENT 'From the request to the last byte of the answer, in microseconds',
    time_to_first_chunk_us Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'From the request to the first chunk of a stream, in microseconds; NULL: no stream',
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)) COMMENT 'Free tags: tallyspan.tag.<key> of the span',
    meters Map(LowCardinality(String), Float64) CODEC(ZSTD(1)) COMMENT 'What was used in the meters without a column of their own: web_search, images, seconds, input_video_tokens, ...',
    conditions Map(LowCardinality(String), LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'What the price depends on beside model and tier: geo, region, deployment, ...',
    quality_flags Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'What is doubtful about the call: inferred, total_mismatch, ...; empty when nothing is',
    unread Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Places in the usage that no rule reads, at most 16; empty when all is read: what they are billed for may be missing in the cost',
    trace_id FixedString(32) CODEC(ZSTD(1)) COMMENT 'Trace id, 32 lower-case hex digits',
    span_id FixedString(16) CODEC(ZSTD(1)) COMMENT 'Span id, 16 lower-case hex digits',
    parent_span_id String CODEC(ZSTD(1)) COMMENT 'Span id of the parent, hex; empty for a root span',
    part LowCardinality(String) COMMENT 'Kind of a model call inside the answer of another, such as advisor; or what of a batch it is: batch_item, batch_total (its sum, no result was read), batch_rest (what its results leave of the sum); empty for a call of its own',
    response_id String CODEC(ZSTD(1)) TTL toDateTime(start_time) + INTERVAL 40 DAY COMMENT 'Id the provider gave its answer, kept for 40 days: it takes a quarter of a row; empty when it gave none',
    scope_name LowCardinality(String) COMMENT 'Instrumentation scope that made the span',
    collector LowCardinality(String) COMMENT 'Collector that booked the entry: its host and data folder; empty when a command did',
    batch_id UInt64 CODEC(ZSTD(1)) COMMENT 'Batch the entry was inserted with',
    ingested_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the collector booked the entry (UTC, milliseconds)',
    INDEX ix_conversation conversation_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_trace toString(trace_id) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_batch batch_id TYPE minmax GRANULARITY 1,
    INDEX ix_kind entry_kind TYPE set(8) GRANULARITY 1,
    -- A condition on start_time is looked up as the fifth column of the key and not as the hour that
    -- is the second: without this index a query for a day reads its whole month.
    INDEX ix_time start_time TYPE minmax GRANULARITY 1,
    INDEX ix_user user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_tags mapValues(tags) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_response response_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY toYYYYMM(start_time)
ORDER BY (tenant, toStartOfHour(start_time), model_name, user_id, start_time)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, min_rows_for_wide_part = 1000000, ttl_only_drop_parts = 1
COMMENT 'Ledger of LLM calls: signed, append-only entries; every total is a sum()';

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

-- A call that no later entry speaks of is its own row; the few others are added up. A hash that
-- two calls of the same microsecond share only sends both to the second half, which groups by
-- the ids. Both halves have the same types, or a condition would reach no index through the
-- conversion.
CREATE VIEW {database}.calls {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    request_model LowCardinality(String) COMMENT 'Model asked for',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    is_stream Bool COMMENT 'Whether the answer was streamed',
    status LowCardinality(String) COMMENT 'How the call ended: ok or error',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    finish_reason LowCardinality(String) COMMENT 'Why the model stopped (first choice)',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache reads and writes, audio and images included; NULL: unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning and audio included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cache_read_tokens Nullable(Int64) COMMENT 'Part of input_tokens read from the provider\'s cache; NULL: not stated',
    cache_write_tokens Nullable(Int64) COMMENT 'Part of input_tokens written to the provider\'s cache; NULL: not stated',
    cache_write_1h_tokens Nullable(Int64) COMMENT 'Part of cache_write_tokens kept for one hour; NULL: not stated',
    cache_read_audio_tokens Nullable(Int64) COMMENT 'Part of cache_read_tokens that was audio; NULL: not stated',
    reasoning_tokens Nullable(Int64) COMMENT 'Part of output_tokens spent on reasoning; NULL: not stated',
    input_audio_tokens Nullable(Int64) COMMENT 'Part of input_tokens that was audio; NULL: not stated',
    output_audio_tokens Nullable(Int64) COMMENT 'Part of output_tokens that was audio; NULL: not stated',
    input_image_tokens Nullable(Int64) COMMENT 'Part of input_tokens that was images; NULL: not stated',
    output_image_tokens Nullable(Int64) COMMENT 'Part of output_tokens that was images; NULL: not stated',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD, net of reversals and price changes; 0 when notional; NULL: not priced',
    cost_status LowCardinality(String) COMMENT 'Whether there is a cost, and whose: priced, reported, unpriced, not_billed or notional',
    input_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Part of cost_usd for the prompt, in USD',
    output_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Part of cost_usd for the answer, in USD',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    notional_cost_usd Nullable(Decimal(38, 12)) COMMENT 'What a call that a subscription or a commitment pays for would have cost, in USD; it is not billed; NULL: billed or not priced',
    cache_saved_usd Nullable(Decimal(38, 12)) COMMENT 'What the provider\'s cache saved of cost_usd, in USD; below 0: writes cost more than reads saved; NULL: no cache used, not priced or not billed',
    price_id LowCardinality(String) COMMENT 'Price entry that was used',
    price_source LowCardinality(String) COMMENT 'Where that price comes from: models_pricing.yaml, genai-prices <version> or provider',
    price_flags Array(LowCardinality(String)) COMMENT 'What is doubtful about the price: deployment_unknown, unpriced_meter, ...; empty when nothing is',
    other_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the call costs if what price_flags doubts is decided the other way, in USD; NULL: nothing is in doubt',
    reported_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD as the provider itself stated it; NULL: it did not',
    claimed_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Cost in USD as the software that sent the span computed it, for comparison only; NULL: it did not',
    duration_us UInt64 COMMENT 'From the request to the last byte of the answer, in microseconds',
    time_to_first_chunk_us Nullable(UInt64) COMMENT 'From the request to the first chunk of a stream, in microseconds; NULL: no stream',
    tags Map(LowCardinality(String), String) COMMENT 'Free tags: tallyspan.tag.<key> of the span',
    meters Map(LowCardinality(String), Float64) COMMENT 'What was used in the meters without a column of their own: web_search, images, seconds, input_video_tokens, ...',
    conditions Map(LowCardinality(String), LowCardinality(String)) COMMENT 'What the price depends on beside model and tier: geo, region, deployment, ...',
    quality_flags Array(LowCardinality(String)) COMMENT 'What is doubtful about the call: inferred, total_mismatch, ...; empty when nothing is',
    unread Array(LowCardinality(String)) COMMENT 'Places in the usage that no rule reads, at most 16; empty when all is read: what they are billed for may be missing in the cost',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
    parent_span_id String COMMENT 'Span id of the parent, hex; empty for a root span',
    part LowCardinality(String) COMMENT 'Kind of a model call inside the answer of another, such as advisor; or what of a batch it is: batch_item, batch_total (its sum, no result was read), batch_rest (what its results leave of the sum); empty for a call of its own',
    response_id String COMMENT 'Id the provider gave its answer, kept for 40 days: it takes a quarter of a row; empty when it gave none',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When the collector last booked the call (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.start_time AS start_time,
    concat(toString(l.trace_id), '-', toString(l.span_id)) AS log_id,
    l.user_id AS user_id,
    l.department AS department,
    l.agent_id AS agent_id,
    l.agent_name AS agent_name,
    l.conversation_id AS conversation_id,
    l.model_name AS model_name,
    l.endpoint_id AS endpoint_id,
    l.provider_name AS provider_name,
    l.service_name AS service_name,
    l.source AS source,
    l.tenant AS tenant,
    l.operation_name AS operation_name,
    l.request_model AS request_model,
    l.service_tier AS service_tier,
    l.is_stream AS is_stream,
    l.status AS status,
    l.error_type AS error_type,
    l.finish_reason AS finish_reason,
    l.input_tokens AS input_tokens,
    l.output_tokens AS output_tokens,
    if(l.input_tokens IS NULL AND l.output_tokens IS NULL, NULL, ifNull(l.input_tokens, 0) + ifNull(l.output_tokens, 0)) AS total_tokens,
    l.cache_read_tokens AS cache_read_tokens,
    l.cache_write_tokens AS cache_write_tokens,
    l.cache_write_1h_tokens AS cache_write_1h_tokens,
    l.cache_read_audio_tokens AS cache_read_audio_tokens,
    l.reasoning_tokens AS reasoning_tokens,
    l.input_audio_tokens AS input_audio_tokens,
    l.output_audio_tokens AS output_audio_tokens,
    l.input_image_tokens AS input_image_tokens,
    l.output_image_tokens AS output_image_tokens,
    l.usage_source AS usage_source,
    if(l.is_notional, 0, l.cost_usd) AS cost_usd,
    if(l.is_notional, 'notional', l.cost_status) AS cost_status,
    l.input_cost_usd AS input_cost_usd,
    l.output_cost_usd AS output_cost_usd,
    l.unpriced_reason AS unpriced_reason,
    if(l.is_notional, l.cost_usd, NULL) AS notional_cost_usd,
    if(l.is_notional, NULL, l.cache_saved_usd) AS cache_saved_usd,
    l.price_id AS price_id,
    l.price_source AS price_source,
    l.price_flags AS price_flags,
    l.other_cost_usd AS other_cost_usd,
    l.reported_cost_usd AS reported_cost_usd,
    l.claimed_cost_usd AS claimed_cost_usd,
    l.duration_us AS duration_us,
    l.time_to_first_chunk_us AS time_to_first_chunk_us,
    l.tags AS tags,
    l.meters AS meters,
    l.conditions AS conditions,
    l.quality_flags AS quality_flags,
    l.unread AS unread,
    toString(l.trace_id) AS trace_id,
    toString(l.span_id) AS span_id,
    l.parent_span_id AS parent_span_id,
    l.part AS part,
    l.response_id AS response_id,
    l.ingested_at AS ingested_at
FROM {database}.llm_calls{all} AS l
GLOBAL ANTI LEFT JOIN {database}.corrected_calls{all} AS x
    ON x.start_time = l.start_time AND x.call_hash = cityHash64(l.trace_id, l.span_id)
WHERE l.entry_kind = 'call'
UNION ALL
SELECT
    l.start_time AS start_time,
    concat(toString(l.trace_id), '-', toString(l.span_id)) AS log_id,
    l.user_id AS user_id,
    l.department AS department,
    l.agent_id AS agent_id,
    toLowCardinality(argMaxIf(l.agent_name, l.ingested_at, l.sign >= 0)) AS agent_name,
    l.conversation_id AS conversation_id,
    l.model_name AS model_name,
    l.endpoint_id AS endpoint_id,
    l.provider_name AS provider_name,
    l.service_name AS service_name,
    toLowCardinality(argMaxIf(l.source, l.ingested_at, l.sign >= 0)) AS source,
    l.tenant AS tenant,
    l.operation_name AS operation_name,
    toLowCardinality(argMaxIf(l.request_model, l.ingested_at, l.sign >= 0)) AS request_model,
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
    sum(l.cache_write_1h_tokens) AS cache_write_1h_tokens,
    sum(l.cache_read_audio_tokens) AS cache_read_audio_tokens,
    sum(l.reasoning_tokens) AS reasoning_tokens,
    sum(l.input_audio_tokens) AS input_audio_tokens,
    sum(l.output_audio_tokens) AS output_audio_tokens,
    sum(l.input_image_tokens) AS input_image_tokens,
    sum(l.output_image_tokens) AS output_image_tokens,
    toLowCardinality(argMaxIf(l.usage_source, l.ingested_at, l.sign >= 0)) AS usage_source,
    if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), 0, sum(l.cost_usd)) AS cost_usd,
    toLowCardinality(if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), 'notional', argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0))) AS cost_status,
    sum(l.input_cost_usd) AS input_cost_usd,
    sum(l.output_cost_usd) AS output_cost_usd,
    toLowCardinality(argMaxIf(l.unpriced_reason, l.ingested_at, l.sign >= 0)) AS unpriced_reason,
    if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), sum(l.cost_usd), NULL) AS notional_cost_usd,
    if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), NULL, sum(l.cache_saved_usd)) AS cache_saved_usd,
    toLowCardinality(argMaxIf(l.price_id, l.ingested_at, l.sign >= 0)) AS price_id,
    toLowCardinality(argMaxIf(l.price_source, l.ingested_at, l.sign >= 0)) AS price_source,
    CAST(argMaxIf(l.price_flags, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS price_flags,
    argMaxIf(l.other_cost_usd, l.ingested_at, l.sign >= 0) AS other_cost_usd,
    sum(l.reported_cost_usd) AS reported_cost_usd,
    sum(l.claimed_cost_usd) AS claimed_cost_usd,
    argMaxIf(l.duration_us, l.ingested_at, l.sign >= 0) AS duration_us,
    argMaxIf(l.time_to_first_chunk_us, l.ingested_at, l.sign >= 0) AS time_to_first_chunk_us,
    CAST(argMaxIf(l.tags, l.ingested_at, l.sign >= 0), 'Map(LowCardinality(String), String)') AS tags,
    CAST(argMaxIf(l.meters, l.ingested_at, l.sign >= 0), 'Map(LowCardinality(String), Float64)') AS meters,
    CAST(argMaxIf(l.conditions, l.ingested_at, l.sign >= 0), 'Map(LowCardinality(String), LowCardinality(String))') AS conditions,
    CAST(argMaxIf(l.quality_flags, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS quality_flags,
    CAST(argMaxIf(l.unread, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS unread,
    toString(l.trace_id) AS trace_id,
    toString(l.span_id) AS span_id,
    argMaxIf(l.parent_span_id, l.ingested_at, l.sign >= 0) AS parent_span_id,
    toLowCardinality(argMaxIf(l.part, l.ingested_at, l.sign >= 0)) AS part,
    argMaxIf(l.response_id, l.ingested_at, l.sign >= 0) AS response_id,
    max(l.ingested_at) AS ingested_at
FROM {database}.llm_calls{all} AS l
GLOBAL SEMI LEFT JOIN {database}.corrected_calls{all} AS x
    ON x.start_time = l.start_time AND x.call_hash = cityHash64(l.trace_id, l.span_id)
GROUP BY l.start_time, l.user_id, l.department, l.agent_id, l.conversation_id, l.model_name, l.endpoint_id, l.provider_name, l.service_name, l.tenant, l.operation_name, l.trace_id, l.span_id
HAVING sum(l.sign) > 0
COMMENT 'One row a call, net of reversals and price changes; no content, nothing secret';

-- Rollups follow the entries by construction: each measure is a sum over signed entries, so
-- a reversal or a price change that reaches the ledger reaches them in the same insert.

CREATE TABLE {database}.rollup_hourly {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_source LowCardinality(String) COMMENT 'Where the price comes from; a change of it later shows as a difference, without a call, under the new one',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    no_user_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that name no user',
    no_conversation_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that belong to no conversation',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact',
    lags SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
ENGINE = {replicated}SummingMergeTree((calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, cache_saved_usd, commitment_cost_usd, plan_cost_usd, unused_cost_usd, imported_cost_usd, true_up_cost_usd, prior_period_cost_usd, no_user_calls, no_conversation_calls, duration_us, first_chunk_us, durations, first_chunks, lags))
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, model_name, department, agent_id, agent_name, service_name, provider_name, endpoint_id, source, operation_name, service_tier, error_type, usage_source, cost_status, unpriced_reason, price_source)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, index_granularity = 2048
COMMENT 'Calls, tokens and cost by hour and all that has few values; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_hourly_feed {on_cluster} TO {database}.rollup_hourly
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant AS tenant,
    toStartOfHour(l.start_time) AS hour,
    l.model_name AS model_name,
    l.department AS department,
    l.agent_id AS agent_id,
    l.agent_name AS agent_name,
    l.service_name AS service_name,
    l.provider_name AS provider_name,
    l.endpoint_id AS endpoint_id,
    l.source AS source,
    l.operation_name AS operation_name,
    l.service_tier AS service_tier,
    l.error_type AS error_type,
    l.usage_source AS usage_source,
    if(l.is_notional, 'notional', l.cost_status) AS cost_status,
    l.unpriced_reason AS unpriced_reason,
    l.price_source AS price_source,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown' AND l.cost_status != 'not_billed')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * (l.is_notional)) AS notional_calls,
    sum(l.sign * (notEmpty(l.quality_flags) OR notEmpty(l.price_flags))) AS flagged_calls,
    sum(l.sign * (isNotNull(l.time_to_first_chunk_us))) AS streamed_calls,
    sum(toInt64(l.entry_kind = 'reversal')) AS reversals,
    sum(toInt64(l.entry_kind = 'price_change')) AS price_changes,
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
    sum(if(l.is_notional, toDecimal64(0, 12), ifNull(l.cost_usd, toDecimal64(0, 12)))) AS cost_usd,
    sum(if(NOT l.is_notional, ifNull(l.input_cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS input_cost_usd,
    sum(if(NOT l.is_notional, ifNull(l.output_cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS output_cost_usd,
    sum(if(l.is_notional, ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS notional_cost_usd,
    sum(if(NOT l.is_notional, ifNull(l.cache_saved_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS cache_saved_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'commitment', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS commitment_cost_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'plan', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS plan_cost_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'unused', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS unused_cost_usd,
    sum(if(l.entry_kind = 'imported', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS imported_cost_usd,
    sum(if(l.entry_kind = 'true_up', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS true_up_cost_usd,
    sum(if(l.entry_kind = 'prior_period', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS prior_period_cost_usd,
    sum(l.sign * (l.user_id = '')) AS no_user_calls,
    sum(l.sign * (l.conversation_id = '')) AS no_conversation_calls,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us,
    sum(l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))) AS first_chunk_us,
    sumMap(CAST(map(toInt16(round(20 * log2(greatest(l.duration_us, 1)))), toInt64(l.sign)), 'Map(Int16, Int64)')) AS durations,
    sumMap(CAST(if(isNull(l.time_to_first_chunk_us), map(), map(toInt16(round(20 * log2(greatest(ifNull(l.time_to_first_chunk_us, 1), 1)))), toInt64(l.sign))), 'Map(Int16, Int64)')) AS first_chunks,
    sumMap(CAST(map(toInt16(round(20 * log2(greatest(dateDiff('microsecond', l.start_time, l.ingested_at) - toInt64(l.duration_us), 1)))), toInt64(l.sign)), 'Map(Int16, Int64)')) AS lags
FROM {database}.llm_calls AS l
GROUP BY tenant, hour, model_name, department, agent_id, agent_name, service_name, provider_name, endpoint_id, source, operation_name, service_tier, error_type, usage_source, cost_status, unpriced_reason, price_source
COMMENT 'Adds every row of llm_calls to rollup_hourly';

CREATE TABLE {database}.rollup_days {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    part LowCardinality(String) COMMENT 'Rollup that the row is of',
    day Date COMMENT 'Day of start_time (UTC)',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_source LowCardinality(String) COMMENT 'Where the price comes from; a change of it later shows as a difference, without a call, under the new one',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    streamed_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a time to the first chunk',
    reversals Int64 CODEC(T64, ZSTD(1)) COMMENT 'Duplicates that were taken back',
    price_changes Int64 CODEC(T64, ZSTD(1)) COMMENT 'Entries that changed a price afterwards',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    input_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for prompts, in USD',
    output_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of the price for answers, in USD',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    no_user_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that name no user',
    no_conversation_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that belong to no conversation',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact',
    lags SimpleAggregateFunction(sumMap, Map(Int16, Int64)) CODEC(ZSTD(1)) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
ENGINE = {replicated}SummingMergeTree((calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, streamed_calls, reversals, price_changes, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, input_cost_usd, output_cost_usd, notional_cost_usd, cache_saved_usd, commitment_cost_usd, plan_cost_usd, unused_cost_usd, imported_cost_usd, true_up_cost_usd, prior_period_cost_usd, no_user_calls, no_conversation_calls, duration_us, first_chunk_us, durations, first_chunks, lags))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, part, day, department, model_name, provider_name, endpoint_id, agent_id, agent_name, service_name, source, operation_name, service_tier, error_type, usage_source, cost_status, unpriced_reason, price_source)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, index_granularity = 2048
COMMENT 'Calls, tokens and cost by day, for each of the rollups by day that have few rows; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_days_feed {on_cluster} TO {database}.rollup_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    part AS part,
    toDate(r.hour) AS day,
    if(part IN ('services', 'agents', 'totals', 'models'), r.department, defaultValueOfTypeName('LowCardinality(String)')) AS department,
    if(part IN ('models_alone', 'totals', 'models'), r.model_name, defaultValueOfTypeName('LowCardinality(String)')) AS model_name,
    if(part IN ('totals', 'models'), r.provider_name, defaultValueOfTypeName('LowCardinality(String)')) AS provider_name,
    if(part IN ('totals', 'models'), r.endpoint_id, defaultValueOfTypeName('LowCardinality(String)')) AS endpoint_id,
    if(part IN ('agents_alone', 'agents'), r.agent_id, defaultValueOfTypeName('LowCardinality(String)')) AS agent_id,
    if(part IN ('agents'), r.agent_name, defaultValueOfTypeName('LowCardinality(String)')) AS agent_name,
    if(part IN ('services'), r.service_name, defaultValueOfTypeName('LowCardinality(String)')) AS service_name,
    if(part IN ('services'), r.source, defaultValueOfTypeName('LowCardinality(String)')) AS source,
    if(part IN ('models'), r.operation_name, defaultValueOfTypeName('LowCardinality(String)')) AS operation_name,
    if(part IN ('models'), r.service_tier, defaultValueOfTypeName('LowCardinality(String)')) AS service_tier,
    if(part IN ('models'), r.error_type, defaultValueOfTypeName('LowCardinality(String)')) AS error_type,
    if(part IN ('models'), r.usage_source, defaultValueOfTypeName('LowCardinality(String)')) AS usage_source,
    if(part IN ('models'), r.cost_status, defaultValueOfTypeName('LowCardinality(String)')) AS cost_status,
    if(part IN ('models'), r.unpriced_reason, defaultValueOfTypeName('LowCardinality(String)')) AS unpriced_reason,
    if(part IN ('models'), r.price_source, defaultValueOfTypeName('LowCardinality(String)')) AS price_source,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
    sumIf(r.streamed_calls, part IN ('services', 'agents', 'totals', 'models')) AS streamed_calls,
    sumIf(r.reversals, part IN ('services', 'agents', 'totals', 'models')) AS reversals,
    sumIf(r.price_changes, part IN ('services', 'agents', 'totals', 'models')) AS price_changes,
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
    sumIf(r.input_cost_usd, part IN ('services', 'agents', 'totals', 'models')) AS input_cost_usd,
    sumIf(r.output_cost_usd, part IN ('services', 'agents', 'totals', 'models')) AS output_cost_usd,
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.cache_saved_usd) AS cache_saved_usd,
    sum(r.commitment_cost_usd) AS commitment_cost_usd,
    sum(r.plan_cost_usd) AS plan_cost_usd,
    sum(r.unused_cost_usd) AS unused_cost_usd,
    sum(r.imported_cost_usd) AS imported_cost_usd,
    sum(r.true_up_cost_usd) AS true_up_cost_usd,
    sum(r.prior_period_cost_usd) AS prior_period_cost_usd,
    sumIf(r.no_user_calls, part IN ('services')) AS no_user_calls,
    sumIf(r.no_conversation_calls, part IN ('services')) AS no_conversation_calls,
    sum(r.duration_us) AS duration_us,
    sumIf(r.first_chunk_us, part IN ('services', 'agents', 'totals', 'models')) AS first_chunk_us,
    sumMapIf(r.durations, part IN ('agents_alone', 'models_alone', 'agents', 'totals')) AS durations,
    sumMapIf(r.first_chunks, part IN ('models_alone', 'totals')) AS first_chunks,
    sumMapIf(r.lags, part IN ('services', 'totals')) AS lags
FROM {database}.rollup_hourly AS r ARRAY JOIN CAST(['agents_alone', 'models_alone', 'services', 'agents', 'totals', 'models'], 'Array(LowCardinality(String))') AS part
GROUP BY tenant, part, day, department, model_name, provider_name, endpoint_id, agent_id, agent_name, service_name, source, operation_name, service_tier, error_type, usage_source, cost_status, unpriced_reason, price_source
COMMENT 'Adds every row of rollup_hourly to rollup_days';

CREATE TABLE {database}.rollup_conversations {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the call was made for; empty when nobody said',
    conversation_hash UInt64 COMMENT 'cityHash64 of conversation_id: conversations are counted by it',
    conversation_id String CODEC(ZSTD(1)) COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds'
)
ENGINE = {replicated}SummingMergeTree((calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, notional_cost_usd, cache_saved_usd, commitment_cost_usd, plan_cost_usd, unused_cost_usd, imported_cost_usd, true_up_cost_usd, prior_period_cost_usd, duration_us))
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, toDate(hour), user_id, conversation_hash, conversation_id, department, model_name, provider_name, endpoint_id, agent_id, agent_name, service_name, source, hour)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, index_granularity = 2048
COMMENT 'Calls, tokens and cost by hour, user and conversation; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_conversations_feed {on_cluster} TO {database}.rollup_conversations
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant AS tenant,
    l.user_id AS user_id,
    cityHash64(l.conversation_id) AS conversation_hash,
    l.conversation_id AS conversation_id,
    l.department AS department,
    l.model_name AS model_name,
    l.provider_name AS provider_name,
    l.endpoint_id AS endpoint_id,
    l.agent_id AS agent_id,
    l.agent_name AS agent_name,
    l.service_name AS service_name,
    l.source AS source,
    toStartOfHour(l.start_time) AS hour,
    sum(l.sign) AS calls,
    sum(l.sign * (l.status = 'error')) AS errors,
    sum(l.sign * (l.usage_source = 'estimated')) AS estimated_calls,
    sum(l.sign * (l.usage_source = 'unknown' AND l.cost_status != 'not_billed')) AS unknown_usage_calls,
    sum(l.unpriced_calls) AS unpriced_calls,
    sum(l.unpriced_tokens) AS unpriced_tokens,
    sum(l.sign * (l.is_notional)) AS notional_calls,
    sum(l.sign * (notEmpty(l.quality_flags) OR notEmpty(l.price_flags))) AS flagged_calls,
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
    sum(if(l.is_notional, toDecimal64(0, 12), ifNull(l.cost_usd, toDecimal64(0, 12)))) AS cost_usd,
    sum(if(l.is_notional, ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS notional_cost_usd,
    sum(if(NOT l.is_notional, ifNull(l.cache_saved_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS cache_saved_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'commitment', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS commitment_cost_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'plan', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS plan_cost_usd,
    sum(if(l.entry_kind = 'commitment' AND l.cost_status = 'unused', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS unused_cost_usd,
    sum(if(l.entry_kind = 'imported', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS imported_cost_usd,
    sum(if(l.entry_kind = 'true_up', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS true_up_cost_usd,
    sum(if(l.entry_kind = 'prior_period', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS prior_period_cost_usd,
    sum(l.sign * toInt64(l.duration_us)) AS duration_us
FROM {database}.llm_calls AS l
GROUP BY tenant, user_id, conversation_hash, conversation_id, department, model_name, provider_name, endpoint_id, agent_id, agent_name, service_name, source, hour
COMMENT 'Adds every row of llm_calls to rollup_conversations';

CREATE TABLE {database}.rollup_users {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls, net of reversals',
    errors Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that ended in an error',
    estimated_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls with a quality flag',
    input_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache included',
    input_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state input_tokens; when a group has 0 of them its tokens are unknown',
    output_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning included',
    output_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state output_tokens; when a group has 0 of them its tokens are unknown',
    cache_read_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens read from the cache',
    cache_read_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_read_tokens; when a group has 0 of them its tokens are unknown',
    cache_write_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens written to the cache',
    cache_write_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state cache_write_tokens; when a group has 0 of them its tokens are unknown',
    reasoning_tokens Int64 CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens spent on reasoning',
    reasoning_stated Int64 CODEC(T64, ZSTD(1)) COMMENT 'Calls that state reasoning_tokens; when a group has 0 of them its tokens are unknown',
    cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Billed cost in USD; unpriced and notional calls add nothing',
    notional_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) CODEC(ZSTD(1)) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of the durations, in microseconds'
)
ENGINE = {replicated}SummingMergeTree((calls, errors, estimated_calls, unknown_usage_calls, unpriced_calls, unpriced_tokens, notional_calls, flagged_calls, input_tokens, input_stated, output_tokens, output_stated, cache_read_tokens, cache_read_stated, cache_write_tokens, cache_write_stated, reasoning_tokens, reasoning_stated, cost_usd, notional_cost_usd, cache_saved_usd, commitment_cost_usd, plan_cost_usd, unused_cost_usd, imported_cost_usd, true_up_cost_usd, prior_period_cost_usd, duration_us))
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day, user_id, department)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, index_granularity = 2048
COMMENT 'Calls, tokens and cost by day and user; kept when raw entries expire';

CREATE MATERIALIZED VIEW {database}.rollup_users_feed {on_cluster} TO {database}.rollup_users
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    toDate(r.hour) AS day,
    r.user_id AS user_id,
    r.department AS department,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.notional_calls) AS notional_calls,
    sum(r.flagged_calls) AS flagged_calls,
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
    sum(r.notional_cost_usd) AS notional_cost_usd,
    sum(r.cache_saved_usd) AS cache_saved_usd,
    sum(r.commitment_cost_usd) AS commitment_cost_usd,
    sum(r.plan_cost_usd) AS plan_cost_usd,
    sum(r.unused_cost_usd) AS unused_cost_usd,
    sum(r.imported_cost_usd) AS imported_cost_usd,
    sum(r.true_up_cost_usd) AS true_up_cost_usd,
    sum(r.prior_period_cost_usd) AS prior_period_cost_usd,
    sum(r.duration_us) AS duration_us
FROM {database}.rollup_conversations AS r
GROUP BY tenant, day, user_id, department
COMMENT 'Adds every row of rollup_conversations to rollup_users';

CREATE VIEW {database}.usage_by_agent_alone {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.agent_id AS agent_id,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us,
    r.durations AS durations
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'agents_alone'
COMMENT 'Calls, tokens and cost by UTC day and agent, of all departments; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_model_alone {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks Map(Int16, Int64) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.model_name AS model_name,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us,
    r.durations AS durations,
    r.first_chunks AS first_chunks
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'models_alone'
COMMENT 'Calls, tokens and cost by UTC day and model, of all departments; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_service {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    no_user_calls Int64 COMMENT 'Calls that name no user',
    no_conversation_calls Int64 COMMENT 'Calls that belong to no conversation',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    lags Map(Int16, Int64) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.service_name AS service_name,
    r.source AS source,
    r.department AS department,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    r.streamed_calls AS streamed_calls,
    r.reversals AS reversals,
    r.price_changes AS price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd AS input_cost_usd,
    r.output_cost_usd AS output_cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.no_user_calls AS no_user_calls,
    r.no_conversation_calls AS no_conversation_calls,
    r.duration_us AS duration_us,
    r.first_chunk_us AS first_chunk_us,
    r.lags AS lags
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'services'
COMMENT 'Calls, tokens and cost by UTC day, emitting service and ingest key; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_agent {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.agent_id AS agent_id,
    r.agent_name AS agent_name,
    r.department AS department,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    r.streamed_calls AS streamed_calls,
    r.reversals AS reversals,
    r.price_changes AS price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd AS input_cost_usd,
    r.output_cost_usd AS output_cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us,
    r.first_chunk_us AS first_chunk_us,
    r.durations AS durations
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'agents'
COMMENT 'Calls, tokens and cost by UTC day and agent; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_totals {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks Map(Int16, Int64) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact',
    lags Map(Int16, Int64) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.department AS department,
    r.model_name AS model_name,
    r.provider_name AS provider_name,
    r.endpoint_id AS endpoint_id,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    r.streamed_calls AS streamed_calls,
    r.reversals AS reversals,
    r.price_changes AS price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd AS input_cost_usd,
    r.output_cost_usd AS output_cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us,
    r.first_chunk_us AS first_chunk_us,
    r.durations AS durations,
    r.first_chunks AS first_chunks,
    r.lags AS lags
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'totals'
COMMENT 'Calls, tokens and cost by UTC day, department, model and endpoint; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_user {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.user_id AS user_id,
    r.department AS department,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us
FROM {database}.rollup_users{all} AS r
COMMENT 'Calls, tokens and cost by UTC day and user; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_model {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_source LowCardinality(String) COMMENT 'Where the price comes from; a change of it later shows as a difference, without a call, under the new one',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.day AS day,
    r.department AS department,
    r.model_name AS model_name,
    r.provider_name AS provider_name,
    r.endpoint_id AS endpoint_id,
    r.operation_name AS operation_name,
    r.service_tier AS service_tier,
    r.error_type AS error_type,
    r.usage_source AS usage_source,
    r.cost_status AS cost_status,
    r.unpriced_reason AS unpriced_reason,
    r.price_source AS price_source,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    r.streamed_calls AS streamed_calls,
    r.reversals AS reversals,
    r.price_changes AS price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd AS input_cost_usd,
    r.output_cost_usd AS output_cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us,
    r.first_chunk_us AS first_chunk_us
FROM {database}.rollup_days{all} AS r
WHERE r.part = 'models'
COMMENT 'Calls, tokens and cost by UTC day, department, model and how they were counted and priced; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_hourly {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_source LowCardinality(String) COMMENT 'Where the price comes from; a change of it later shows as a difference, without a call, under the new one',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    no_user_calls Int64 COMMENT 'Calls that name no user',
    no_conversation_calls Int64 COMMENT 'Calls that belong to no conversation',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks Map(Int16, Int64) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact',
    lags Map(Int16, Int64) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    r.hour AS hour,
    r.model_name AS model_name,
    r.department AS department,
    r.agent_id AS agent_id,
    r.agent_name AS agent_name,
    r.service_name AS service_name,
    r.provider_name AS provider_name,
    r.endpoint_id AS endpoint_id,
    r.source AS source,
    r.operation_name AS operation_name,
    r.service_tier AS service_tier,
    r.error_type AS error_type,
    r.usage_source AS usage_source,
    r.cost_status AS cost_status,
    r.unpriced_reason AS unpriced_reason,
    r.price_source AS price_source,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    r.streamed_calls AS streamed_calls,
    r.reversals AS reversals,
    r.price_changes AS price_changes,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.input_cost_usd AS input_cost_usd,
    r.output_cost_usd AS output_cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.no_user_calls AS no_user_calls,
    r.no_conversation_calls AS no_conversation_calls,
    r.duration_us AS duration_us,
    r.first_chunk_us AS first_chunk_us,
    r.durations AS durations,
    r.first_chunks AS first_chunks,
    r.lags AS lags
FROM {database}.rollup_hourly{all} AS r
COMMENT 'Calls, tokens and cost by hour, model, department, agent, service, and how they were counted and priced; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_daily {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    toDate(r.hour) AS day,
    r.user_id AS user_id,
    r.department AS department,
    r.model_name AS model_name,
    r.provider_name AS provider_name,
    r.endpoint_id AS endpoint_id,
    r.service_name AS service_name,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us
FROM {database}.rollup_conversations{all} AS r
COMMENT 'Calls, tokens and cost by UTC day, user and model; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_by_conversation {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    day Date COMMENT 'Day of start_time (UTC)',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    conversation_hash UInt64 COMMENT 'cityHash64 of conversation_id: conversations are counted by it',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.tenant AS tenant,
    toDate(r.hour) AS day,
    r.user_id AS user_id,
    r.conversation_hash AS conversation_hash,
    r.conversation_id AS conversation_id,
    r.department AS department,
    r.model_name AS model_name,
    r.provider_name AS provider_name,
    r.endpoint_id AS endpoint_id,
    r.agent_id AS agent_id,
    r.agent_name AS agent_name,
    r.service_name AS service_name,
    r.source AS source,
    r.hour AS hour,
    r.calls AS calls,
    r.errors AS errors,
    r.estimated_calls AS estimated_calls,
    r.unknown_usage_calls AS unknown_usage_calls,
    r.unpriced_calls AS unpriced_calls,
    r.unpriced_tokens AS unpriced_tokens,
    r.notional_calls AS notional_calls,
    r.flagged_calls AS flagged_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    r.input_stated AS input_stated,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    r.output_stated AS output_stated,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cache_read_tokens = 0 AND r.cache_read_stated = 0, NULL, r.cache_read_tokens) AS cache_read_tokens,
    r.cache_read_stated AS cache_read_stated,
    if(r.cache_write_tokens = 0 AND r.cache_write_stated = 0, NULL, r.cache_write_tokens) AS cache_write_tokens,
    r.cache_write_stated AS cache_write_stated,
    if(r.reasoning_tokens = 0 AND r.reasoning_stated = 0, NULL, r.reasoning_tokens) AS reasoning_tokens,
    r.reasoning_stated AS reasoning_stated,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd,
    r.cache_saved_usd AS cache_saved_usd,
    r.commitment_cost_usd AS commitment_cost_usd,
    r.plan_cost_usd AS plan_cost_usd,
    r.unused_cost_usd AS unused_cost_usd,
    r.imported_cost_usd AS imported_cost_usd,
    r.true_up_cost_usd AS true_up_cost_usd,
    r.prior_period_cost_usd AS prior_period_cost_usd,
    r.duration_us AS duration_us
FROM {database}.rollup_conversations{all} AS r
COMMENT 'Calls, tokens and cost by hour, user and conversation; several rows a group, so always sum() them';

CREATE VIEW {database}.usage_entries {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    agent_name LowCardinality(String) COMMENT 'Name of that agent',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    status LowCardinality(String) COMMENT 'How the call ended: ok or error',
    error_type LowCardinality(String) COMMENT 'HTTP status or exception the call ended with; empty when ok',
    usage_source LowCardinality(String) COMMENT 'Where the counts come from: provider, estimated, unknown or deferred (another span states them)',
    cost_status LowCardinality(String) COMMENT 'priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back',
    unpriced_reason LowCardinality(String) COMMENT 'Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one',
    price_source LowCardinality(String) COMMENT 'Where the price comes from; a change of it later shows as a difference, without a call, under the new one',
    conversation_hash UInt64 COMMENT 'cityHash64 of conversation_id: conversations are counted by it',
    entry_kind LowCardinality(String) COMMENT 'call, reversal (of a call found to be a duplicate), price_change (the difference a new price makes), correction (a call that is booked or taken back otherwise, as one that only LibreChat has), commitment (a share of what is paid whether it is used or not; of no call), imported (usage that the provider reports and no span tells of; of no call), true_up (what a bill has and the ledger has not, below 0 where it has less; of no call) or prior_period (a correction of a closed month, taken out of it and booked in an open one; of no call)',
    tags Map(LowCardinality(String), String) COMMENT 'Free tags: tallyspan.tag.<key> of the span',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    notional_calls Int64 COMMENT 'Calls that a subscription or a commitment pays for',
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
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD',
    cache_saved_usd Decimal(38, 12) COMMENT 'What caches saved of cost_usd, in USD, less what their writes cost more',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it',
    no_user_calls Int64 COMMENT 'Calls that name no user',
    no_conversation_calls Int64 COMMENT 'Calls that belong to no conversation',
    duration_us Int64 COMMENT 'Sum of the durations, in microseconds',
    first_chunk_us Int64 COMMENT 'Sum of the times to the first chunk, in microseconds, over streamed_calls',
    durations Map(Int16, Int64) COMMENT 'Calls by duration: the key is round(20 * log2(microseconds)), so 2 % exact',
    first_chunks Map(Int16, Int64) COMMENT 'Calls by time to the first chunk of a stream: the key is round(20 * log2(microseconds)), so 2 % exact',
    lags Map(Int16, Int64) COMMENT 'Calls by the time from their end until they were booked: the key is round(20 * log2(microseconds)), so 2 % exact'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.start_time AS start_time,
    l.user_id AS user_id,
    l.department AS department,
    l.agent_id AS agent_id,
    l.agent_name AS agent_name,
    l.conversation_id AS conversation_id,
    l.model_name AS model_name,
    l.endpoint_id AS endpoint_id,
    l.provider_name AS provider_name,
    l.service_name AS service_name,
    l.source AS source,
    l.tenant AS tenant,
    l.operation_name AS operation_name,
    l.service_tier AS service_tier,
    l.status AS status,
    l.error_type AS error_type,
    l.usage_source AS usage_source,
    if(l.is_notional, 'notional', l.cost_status) AS cost_status,
    l.unpriced_reason AS unpriced_reason,
    l.price_source AS price_source,
    cityHash64(l.conversation_id) AS conversation_hash,
    l.entry_kind AS entry_kind,
    l.tags AS tags,
    l.sign AS calls,
    l.sign * (l.status = 'error') AS errors,
    l.sign * (l.usage_source = 'estimated') AS estimated_calls,
    l.sign * (l.usage_source = 'unknown' AND l.cost_status != 'not_billed') AS unknown_usage_calls,
    l.unpriced_calls AS unpriced_calls,
    l.unpriced_tokens AS unpriced_tokens,
    l.sign * (l.is_notional) AS notional_calls,
    l.sign * (notEmpty(l.quality_flags) OR notEmpty(l.price_flags)) AS flagged_calls,
    l.sign * (isNotNull(l.time_to_first_chunk_us)) AS streamed_calls,
    toInt64(l.entry_kind = 'reversal') AS reversals,
    toInt64(l.entry_kind = 'price_change') AS price_changes,
    l.input_tokens AS input_tokens,
    l.sign * isNotNull(l.input_tokens) AS input_stated,
    l.output_tokens AS output_tokens,
    l.sign * isNotNull(l.output_tokens) AS output_stated,
    if(l.input_tokens IS NULL AND l.output_tokens IS NULL, NULL, ifNull(l.input_tokens, 0) + ifNull(l.output_tokens, 0)) AS total_tokens,
    l.cache_read_tokens AS cache_read_tokens,
    l.sign * isNotNull(l.cache_read_tokens) AS cache_read_stated,
    l.cache_write_tokens AS cache_write_tokens,
    l.sign * isNotNull(l.cache_write_tokens) AS cache_write_stated,
    l.reasoning_tokens AS reasoning_tokens,
    l.sign * isNotNull(l.reasoning_tokens) AS reasoning_stated,
    if(l.is_notional, if(l.cost_usd IS NULL, NULL, toDecimal64(0, 12)), l.cost_usd) AS cost_usd,
    if(NOT l.is_notional, ifNull(l.input_cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS input_cost_usd,
    if(NOT l.is_notional, ifNull(l.output_cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS output_cost_usd,
    if(l.is_notional, ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS notional_cost_usd,
    if(NOT l.is_notional, ifNull(l.cache_saved_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS cache_saved_usd,
    if(l.entry_kind = 'commitment' AND l.cost_status = 'commitment', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS commitment_cost_usd,
    if(l.entry_kind = 'commitment' AND l.cost_status = 'plan', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS plan_cost_usd,
    if(l.entry_kind = 'commitment' AND l.cost_status = 'unused', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS unused_cost_usd,
    if(l.entry_kind = 'imported', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS imported_cost_usd,
    if(l.entry_kind = 'true_up', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS true_up_cost_usd,
    if(l.entry_kind = 'prior_period', ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12)) AS prior_period_cost_usd,
    l.sign * (l.user_id = '') AS no_user_calls,
    l.sign * (l.conversation_id = '') AS no_conversation_calls,
    l.sign * toInt64(l.duration_us) AS duration_us,
    l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0)) AS first_chunk_us,
    CAST(map(toInt16(round(20 * log2(greatest(l.duration_us, 1)))), toInt64(l.sign)), 'Map(Int16, Int64)') AS durations,
    CAST(if(isNull(l.time_to_first_chunk_us), map(), map(toInt16(round(20 * log2(greatest(ifNull(l.time_to_first_chunk_us, 1), 1)))), toInt64(l.sign))), 'Map(Int16, Int64)') AS first_chunks,
    CAST(map(toInt16(round(20 * log2(greatest(dateDiff('microsecond', l.start_time, l.ingested_at) - toInt64(l.duration_us), 1)))), toInt64(l.sign)), 'Map(Int16, Int64)') AS lags
FROM {database}.llm_calls{all} AS l
COMMENT 'The entries of the ledger in the columns of the rollups: for the ends of a range that are no whole days; always sum() them';

CREATE VIEW {database}.call_meters {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
    meter LowCardinality(String) COMMENT 'What was used: input_tokens, web_search, seconds, ...',
    amount Float64 COMMENT 'How much of it: tokens, or units of the meter'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    c.start_time AS start_time,
    c.log_id AS log_id,
    c.user_id AS user_id,
    c.department AS department,
    c.agent_id AS agent_id,
    c.conversation_id AS conversation_id,
    c.model_name AS model_name,
    c.endpoint_id AS endpoint_id,
    c.provider_name AS provider_name,
    c.service_name AS service_name,
    c.source AS source,
    c.tenant AS tenant,
    c.operation_name AS operation_name,
    c.service_tier AS service_tier,
    c.trace_id AS trace_id,
    c.span_id AS span_id,
    m.1 AS meter,
    assumeNotNull(m.2) AS amount
FROM {database}.calls AS c
ARRAY JOIN arrayZip(
    arrayConcat(['input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'cache_write_1h_tokens', 'cache_read_audio_tokens', 'reasoning_tokens', 'input_audio_tokens', 'output_audio_tokens', 'input_image_tokens', 'output_image_tokens'], mapKeys(c.meters)),
    arrayConcat([toFloat64(c.input_tokens), toFloat64(c.output_tokens), toFloat64(c.cache_read_tokens), toFloat64(c.cache_write_tokens), toFloat64(c.cache_write_1h_tokens), toFloat64(c.cache_read_audio_tokens), toFloat64(c.reasoning_tokens), toFloat64(c.input_audio_tokens), toFloat64(c.output_audio_tokens), toFloat64(c.input_image_tokens), toFloat64(c.output_image_tokens)], mapValues(c.meters))
) AS m
WHERE m.2 IS NOT NULL
COMMENT 'One row a call and meter, net: the counts that have a column and those in the map meters; what nobody stated has no row';

CREATE TABLE {database}.doubtful_entries {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    entry_kind LowCardinality(String) COMMENT 'call, reversal (of a call found to be a duplicate), price_change (the difference a new price makes), correction (a call that is booked or taken back otherwise, as one that only LibreChat has), commitment (a share of what is paid whether it is used or not; of no call), imported (usage that the provider reports and no span tells of; of no call), true_up (what a bill has and the ledger has not, below 0 where it has less; of no call) or prior_period (a correction of a closed month, taken out of it and booked in an open one; of no call)',
    start_time DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the request left the application (UTC, microseconds)',
    call_hash UInt64 CODEC(ZSTD(1)) COMMENT 'cityHash64(trace_id, span_id) of the call',
    trace_id FixedString(32) CODEC(ZSTD(1)) COMMENT 'Trace id, 32 lower-case hex digits',
    span_id FixedString(16) CODEC(ZSTD(1)) COMMENT 'Span id, 16 lower-case hex digits',
    user_id String CODEC(ZSTD(1)) COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    conversation_id String CODEC(ZSTD(1)) COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    operation_name LowCardinality(String) COMMENT 'Operation: chat, embeddings, generate_content, ...',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    sign Int8 COMMENT 'Calls this entry adds: 1 for a call, -1 for a reversal, 0 for a price change and what is of no call; count calls with sum(sign)',
    is_notional Bool COMMENT 'Paid by a subscription or a commitment: cost_usd is what the call would have cost and is never billed',
    ingested_at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)) COMMENT 'When the collector booked the entry (UTC, milliseconds)',
    unread Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Places in the usage that no rule reads, at most 16; empty when all is read: what they are billed for may be missing in the cost',
    quality_flags Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'What is doubtful about the call: inferred, total_mismatch, ...; empty when nothing is',
    price_flags Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'What is doubtful about the price: deployment_unknown, unpriced_meter, ...; empty when nothing is',
    input_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Prompt tokens, cache reads and writes, audio and images included; NULL: unknown',
    output_tokens Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Generated tokens, reasoning and audio included; NULL: unknown',
    cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'Cost of the entry in USD, exact to the pico-dollar; NULL: not priced, see cost_status',
    other_cost_usd Nullable(Decimal(18, 12)) CODEC(GCD, T64('bit'), ZSTD(1)) COMMENT 'What the call costs if what price_flags doubts is decided the other way, in USD; NULL: nothing is in doubt',
    entries Int64 CODEC(ZSTD(1)) COMMENT 'Entries of the ledger that are so'
)
ENGINE = {replicated}SummingMergeTree((input_tokens, output_tokens, cost_usd, other_cost_usd, entries))
PARTITION BY toYYYYMM(start_time)
PRIMARY KEY (tenant, entry_kind, start_time)
ORDER BY (tenant, entry_kind, start_time, call_hash, trace_id, span_id, user_id, department, agent_id, conversation_id, model_name, endpoint_id, provider_name, service_name, source, operation_name, service_tier, sign, is_notional, ingested_at, unread, quality_flags, price_flags)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
    vertical_merge_algorithm_min_rows_to_activate = 1000000, index_granularity = 2048, ttl_only_drop_parts = 1
COMMENT 'Entries with a flag, or with usage that no rule reads, and all corrections';

CREATE MATERIALIZED VIEW {database}.doubtful_entries_feed {on_cluster} TO {database}.doubtful_entries
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.tenant AS tenant,
    l.entry_kind AS entry_kind,
    l.start_time AS start_time,
    l.trace_id AS trace_id,
    l.span_id AS span_id,
    l.user_id AS user_id,
    l.department AS department,
    l.agent_id AS agent_id,
    l.conversation_id AS conversation_id,
    l.model_name AS model_name,
    l.endpoint_id AS endpoint_id,
    l.provider_name AS provider_name,
    l.service_name AS service_name,
    l.source AS source,
    l.operation_name AS operation_name,
    l.service_tier AS service_tier,
    l.sign AS sign,
    l.is_notional AS is_notional,
    l.ingested_at AS ingested_at,
    l.unread AS unread,
    l.quality_flags AS quality_flags,
    l.price_flags AS price_flags,
    l.input_tokens AS input_tokens,
    l.output_tokens AS output_tokens,
    l.cost_usd AS cost_usd,
    l.other_cost_usd AS other_cost_usd,
    cityHash64(l.trace_id, l.span_id) AS call_hash,
    toInt64(1) AS entries
FROM {database}.llm_calls AS l
WHERE l.entry_kind NOT IN ('call', 'commitment', 'imported', 'true_up', 'prior_period') OR (notEmpty(l.unread) OR notEmpty(l.quality_flags) OR notEmpty(l.price_flags))
COMMENT 'Adds every doubtful entry of llm_calls, and every correction, to doubtful_entries';

-- All that is doubtful about single calls, by kind. The other cost is about the first price
-- flag of a call. A flag named x_unknown is about the condition x. A call that got its first
-- flag with a later price has its first entry in the ledger alone.
CREATE VIEW {database}.call_doubts {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    kind LowCardinality(String) COMMENT 'unread: a place in the usage that no rule reads; price: a price flag; quality: a quality flag',
    doubt LowCardinality(String) COMMENT 'The path of what is unread, or the name of the flag',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost of the call in USD, as booked; NULL: not priced',
    other_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the call costs if the doubt is decided the other way, in USD; NULL: nobody can tell',
    setting String COMMENT 'Line of models_pricing.yaml that decides it, with what to fill in in capitals; empty: no line can'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    text -> if(match(text, '^[A-Za-z][A-Za-z0-9._/-]*$'), text, concat('\'', replaceAll(text, '\'', '\'\''), '\'')) AS yaml,
    concat('{provider: ', yaml(c.provider_name), if(c.endpoint_id = '', '', concat(', endpoint: ', yaml(c.endpoint_id)))) AS place,
    concat(place, ', model: ', yaml(c.model_name)) AS place_and_model
SELECT
    c.start_time AS start_time,
    c.log_id AS log_id,
    c.tenant AS tenant,
    c.trace_id AS trace_id,
    c.span_id AS span_id,
    c.user_id AS user_id,
    c.department AS department,
    c.agent_id AS agent_id,
    c.source AS source,
    c.service_name AS service_name,
    c.provider_name AS provider_name,
    c.endpoint_id AS endpoint_id,
    c.model_name AS model_name,
    c.service_tier AS service_tier,
    c.total_tokens AS total_tokens,
    toLowCardinality(each.1) AS kind,
    toLowCardinality(each.2) AS doubt,
    c.cost_usd AS cost_usd,
    if(each.1 = 'price' AND each.2 = c.price_flags[1], c.other_cost_usd, NULL) AS other_cost_usd,
    multiIf(
        each.1 != 'price', '',
        endsWith(each.2, '_unknown'),
            concat('conditions: [', place, ', set: {', replaceRegexpOne(each.2, '_unknown$', ''), ': VALUE}}]'),
        each.2 = 'tier_assumed',
            concat('prices: [', place_and_model, ', service_tier: ', yaml(c.service_tier), ', unit: 1M tokens, input: USD, output: USD}]'),
        each.2 = 'condition_assumed',
            concat('factors: [', place_and_model, ', CONDITION: VALUE, times: FACTOR}]'),
        each.2 = 'unpriced_meter',
            concat('fees: [', place, ', METER: USD}]'),
        ''
    ) AS setting
FROM (
    SELECT
        l.start_time AS start_time,
        concat(toString(l.trace_id), '-', toString(l.span_id)) AS log_id,
        l.tenant AS tenant,
        toString(l.trace_id) AS trace_id,
        toString(l.span_id) AS span_id,
        l.user_id AS user_id,
        l.department AS department,
        l.agent_id AS agent_id,
        toLowCardinality(argMaxIf(l.source, l.ingested_at, l.sign >= 0)) AS source,
        l.service_name AS service_name,
        l.provider_name AS provider_name,
        l.endpoint_id AS endpoint_id,
        l.model_name AS model_name,
        toLowCardinality(argMaxIf(l.service_tier, l.ingested_at, l.sign >= 0)) AS service_tier,
        if(sum(l.input_tokens) IS NULL AND sum(l.output_tokens) IS NULL, NULL, ifNull(sum(l.input_tokens), 0) + ifNull(sum(l.output_tokens), 0)) AS total_tokens,
        if(argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0), 0, sum(l.cost_usd)) AS cost_usd,
        argMaxIf(l.other_cost_usd, l.ingested_at, l.sign >= 0) AS other_cost_usd,
        CAST(argMaxIf(l.unread, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS unread,
        CAST(argMaxIf(l.quality_flags, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS quality_flags,
        CAST(argMaxIf(l.price_flags, l.ingested_at, l.sign >= 0), 'Array(LowCardinality(String))') AS price_flags
    FROM (
        SELECT d.tenant AS tenant, d.entry_kind AS entry_kind, d.start_time AS start_time, d.trace_id AS trace_id, d.span_id AS span_id, d.user_id AS user_id, d.department AS department, d.agent_id AS agent_id, d.conversation_id AS conversation_id, d.model_name AS model_name, d.endpoint_id AS endpoint_id, d.provider_name AS provider_name, d.service_name AS service_name, d.source AS source, d.operation_name AS operation_name, d.service_tier AS service_tier, d.sign AS sign, d.is_notional AS is_notional, d.ingested_at AS ingested_at, d.unread AS unread, d.quality_flags AS quality_flags, d.price_flags AS price_flags, d.input_tokens AS input_tokens, d.output_tokens AS output_tokens, d.cost_usd AS cost_usd, d.other_cost_usd AS other_cost_usd
        FROM {database}.doubtful_entries{all} AS d
        WHERE d.entries > 0 AND d.call_hash GLOBAL IN (
            SELECT f.call_hash FROM {database}.doubtful_entries{all} AS f WHERE (notEmpty(f.unread) OR notEmpty(f.quality_flags) OR notEmpty(f.price_flags))
        )
        UNION ALL
        SELECT e.tenant AS tenant, e.entry_kind AS entry_kind, e.start_time AS start_time, e.trace_id AS trace_id, e.span_id AS span_id, e.user_id AS user_id, e.department AS department, e.agent_id AS agent_id, e.conversation_id AS conversation_id, e.model_name AS model_name, e.endpoint_id AS endpoint_id, e.provider_name AS provider_name, e.service_name AS service_name, e.source AS source, e.operation_name AS operation_name, e.service_tier AS service_tier, e.sign AS sign, e.is_notional AS is_notional, e.ingested_at AS ingested_at, e.unread AS unread, e.quality_flags AS quality_flags, e.price_flags AS price_flags, e.input_tokens AS input_tokens, e.output_tokens AS output_tokens, e.cost_usd AS cost_usd, e.other_cost_usd AS other_cost_usd
        FROM {database}.llm_calls{all} AS e
        WHERE e.entry_kind = 'call' AND NOT (notEmpty(e.unread) OR notEmpty(e.quality_flags) OR notEmpty(e.price_flags)) AND (e.tenant, toStartOfHour(e.start_time), e.model_name, e.user_id, e.start_time, cityHash64(e.trace_id, e.span_id)) GLOBAL IN (
            SELECT p.tenant, toStartOfHour(p.start_time), p.model_name, p.user_id, p.start_time, cityHash64(p.trace_id, p.span_id) FROM {database}.doubtful_entries{all} AS p
            WHERE p.entry_kind = 'price_change' AND (notEmpty(p.unread) OR notEmpty(p.quality_flags) OR notEmpty(p.price_flags)) AND (p.start_time, p.call_hash) GLOBAL NOT IN (
                SELECT f.start_time, f.call_hash FROM {database}.doubtful_entries{all} AS f WHERE f.entry_kind = 'call'
            )
        )
    ) AS l
    GROUP BY l.start_time, l.user_id, l.department, l.agent_id, l.conversation_id, l.model_name, l.endpoint_id, l.provider_name, l.service_name, l.tenant, l.operation_name, l.trace_id, l.span_id
    HAVING sum(l.sign) > 0
) AS c
ARRAY JOIN arrayConcat(
    arrayMap(path -> ('unread', toString(path)), c.unread),
    arrayMap(flag -> ('quality', toString(flag)), c.quality_flags),
    arrayMap(flag -> ('price', toString(flag)), c.price_flags)
) AS each
COMMENT 'One row a call and doubt, net; a call with several has its cost in several rows, so add up one doubt at a time';

-- Prices that nobody has decided.
CREATE VIEW {database}.call_price_doubts {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant that made the call; empty for none',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    doubt LowCardinality(String) COMMENT 'Price flag: deployment_unknown, tier_assumed, ...',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost of the call in USD, as booked; NULL: not priced',
    other_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the call costs if the doubt is decided the other way, in USD; NULL: nobody can tell',
    setting String COMMENT 'Line of models_pricing.yaml that decides it, with what to fill in in capitals; empty: no line can'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    d.start_time AS start_time,
    d.log_id AS log_id,
    d.tenant AS tenant,
    d.trace_id AS trace_id,
    d.span_id AS span_id,
    d.user_id AS user_id,
    d.department AS department,
    d.agent_id AS agent_id,
    d.source AS source,
    d.service_name AS service_name,
    d.provider_name AS provider_name,
    d.endpoint_id AS endpoint_id,
    d.model_name AS model_name,
    d.service_tier AS service_tier,
    d.total_tokens AS total_tokens,
    d.doubt AS doubt,
    d.cost_usd AS cost_usd,
    d.other_cost_usd AS other_cost_usd,
    d.setting AS setting
FROM {database}.call_doubts AS d
WHERE d.kind = 'price'
COMMENT 'One row a call and price flag, net: what is undecided, the money both ways, the line that decides it';

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
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    input_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache included; NULL: unknown',
    output_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none',
    notional_cost_usd Decimal(38, 12) COMMENT 'What calls that a subscription or a commitment pays for would have cost, in USD'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.conversation_id AS conversation_id,
    r.tenant AS tenant,
    r.users AS users,
    r.departments AS departments,
    r.agents AS agents,
    r.models AS models,
    r.first_call AS first_call,
    r.last_call AS last_call,
    r.calls AS calls,
    r.errors AS errors,
    r.unpriced_calls AS unpriced_calls,
    if(r.input_tokens = 0 AND r.input_stated = 0, NULL, r.input_tokens) AS input_tokens,
    if(r.output_tokens = 0 AND r.output_stated = 0, NULL, r.output_tokens) AS output_tokens,
    if(r.input_tokens = 0 AND r.input_stated = 0 AND r.output_tokens = 0 AND r.output_stated = 0, NULL, r.input_tokens + r.output_tokens) AS total_tokens,
    if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd) AS cost_usd,
    r.notional_cost_usd AS notional_cost_usd
FROM (
    SELECT
        l.conversation_id AS conversation_id,
        l.tenant AS tenant,
        arraySort(groupUniqArrayIf(l.user_id, l.user_id != '')) AS users,
        arraySort(groupUniqArrayIf(l.department, l.department != '')) AS departments,
        arraySort(groupUniqArrayIf(l.agent_id, l.agent_id != '')) AS agents,
        arraySort(groupUniqArrayIf(l.model_name, l.model_name != '')) AS models,
        min(l.start_time) AS first_call,
        max(l.start_time) AS last_call,
        sum(l.sign) AS calls,
        sum(l.sign * (l.status = 'error')) AS errors,
        sum(l.unpriced_calls) AS unpriced_calls,
        sum(ifNull(l.input_tokens, 0)) AS input_tokens,
        sum(l.sign * isNotNull(l.input_tokens)) AS input_stated,
        sum(ifNull(l.output_tokens, 0)) AS output_tokens,
        sum(l.sign * isNotNull(l.output_tokens)) AS output_stated,
        sum(if(l.is_notional, toDecimal64(0, 12), ifNull(l.cost_usd, toDecimal64(0, 12)))) AS cost_usd,
        sum(if(l.is_notional, ifNull(l.cost_usd, toDecimal64(0, 12)), toDecimal64(0, 12))) AS notional_cost_usd
    FROM {database}.llm_calls{all} AS l
    WHERE l.conversation_id != ''
    GROUP BY l.tenant, l.conversation_id
    HAVING sum(l.sign) > 0
) AS r
COMMENT 'One row a conversation, net; name a conversation_id, all of them is a read of the whole ledger';

CREATE VIEW {database}.data_health {on_cluster}
(
    hour DateTime('UTC') COMMENT 'Hour of start_time (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    calls Int64 COMMENT 'Calls, net of reversals',
    errors Int64 COMMENT 'Calls that ended in an error',
    estimated_calls Int64 COMMENT 'Calls whose tokens are an estimate',
    unknown_usage_calls Int64 COMMENT 'Calls whose tokens nobody stated, without those that cost nothing',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    unpriced_tokens Int64 COMMENT 'Tokens of the calls without a price',
    flagged_calls Int64 COMMENT 'Calls with a quality flag',
    reversals Int64 COMMENT 'Duplicates that were taken back',
    price_changes Int64 COMMENT 'Entries that changed a price afterwards'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.hour AS hour,
    r.tenant AS tenant,
    r.source AS source,
    r.service_name AS service_name,
    r.provider_name AS provider_name,
    r.model_name AS model_name,
    sum(r.calls) AS calls,
    sum(r.errors) AS errors,
    sum(r.estimated_calls) AS estimated_calls,
    sum(r.unknown_usage_calls) AS unknown_usage_calls,
    sum(r.unpriced_calls) AS unpriced_calls,
    sum(r.unpriced_tokens) AS unpriced_tokens,
    sum(r.flagged_calls) AS flagged_calls,
    sum(r.reversals) AS reversals,
    sum(r.price_changes) AS price_changes
FROM {database}.rollup_hourly{all} AS r
GROUP BY r.hour, r.tenant, r.source, r.service_name, r.provider_name, r.model_name
COMMENT 'How far the figures can be trusted, by hour, source, service and model';

-- What the software that sent a call says it cost, beside what we work out: where the two differ.
CREATE VIEW {database}.claimed_costs {on_cluster}
(
    day Date COMMENT 'Day the calls began on (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    emitter LowCardinality(String) COMMENT 'Instrumentation scope of the report that was taken for the call',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    model_name LowCardinality(String) COMMENT 'Model used',
    calls Int64 COMMENT 'Calls that claim a cost, net of reversals',
    unpriced_calls Int64 COMMENT 'Those of them that have no cost of ours; their claims are in unpriced_claimed_usd alone',
    differing_calls Int64 COMMENT 'Calls whose two costs are further apart than a hundredth of ours and 0.000001 USD',
    claimed_cost_usd Decimal(38, 12) COMMENT 'What the priced calls are claimed to have cost, in USD',
    cost_usd Decimal(38, 12) COMMENT 'What we worked out for the same calls, in USD; for use on a subscription what it would have cost',
    difference_usd Decimal(38, 12) COMMENT 'claimed_cost_usd - cost_usd',
    largest_difference_usd Decimal(38, 12) COMMENT 'The largest difference of a single call, either way, in USD',
    unpriced_claimed_usd Decimal(38, 12) COMMENT 'What calls without a cost of ours are claimed to have cost, in USD'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    c.day,
    c.tenant,
    c.emitter,
    c.provider_name,
    c.model_name,
    toInt64(count()) AS calls,
    toInt64(countIf(c.ours IS NULL)) AS unpriced_calls,
    toInt64(countIf(abs(c.claimed - c.ours) > greatest(abs(c.ours) / 100, toDecimal128('0.000001', 12)))) AS differing_calls,
    sumIf(c.claimed, c.ours IS NOT NULL) AS claimed_cost_usd,
    ifNull(sum(c.ours), toDecimal128(0, 12)) AS cost_usd,
    claimed_cost_usd - cost_usd AS difference_usd,
    ifNull(max(abs(c.claimed - c.ours)), toDecimal128(0, 12)) AS largest_difference_usd,
    sumIf(c.claimed, c.ours IS NULL) AS unpriced_claimed_usd
FROM
(
    SELECT
        toDate(l.start_time) AS day,
        l.tenant AS tenant,
        l.provider_name AS provider_name,
        l.model_name AS model_name,
        argMaxIf(l.scope_name, l.ingested_at, l.sign >= 0) AS emitter,
        ifNull(sum(l.claimed_cost_usd), toDecimal128(0, 12)) AS claimed,
        sum(l.cost_usd) AS ours
    FROM {database}.llm_calls{all} AS l
    WHERE l.claimed_cost_usd IS NOT NULL OR l.entry_kind = 'price_change'
    GROUP BY day, l.tenant, l.provider_name, l.model_name, l.trace_id, l.span_id
    HAVING sum(l.sign) > 0
) AS c
GROUP BY c.day, c.tenant, c.emitter, c.provider_name, c.model_name
COMMENT 'Costs that emitters claim, against ours, by day, emitter and model; several rows a group, so always sum() them';

CREATE TABLE {database}.directory {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the user belongs to; empty where there is one only',
    user_id String COMMENT 'The user, as user_id of the calls has it',
    valid_from Date32 COMMENT 'First day (UTC) this holds; 1970-01-01: always did',
    valid_to Date32 COMMENT 'Last day (UTC) this holds; 2299-12-31: until further notice',
    department LowCardinality(String) COMMENT 'Department that pays for the calls of these days',
    cost_centre LowCardinality(String) COMMENT 'Cost centre of the department or the user; empty: not given',
    display_name String COMMENT 'Name people know the user by; empty: not given',
    is_removed Bool DEFAULT false COMMENT 'Whether a later import took this period out',
    imported_at DateTime64(3, 'UTC') COMMENT 'When this version was imported (UTC)',
    imported_by String COMMENT 'Who imported it',
    imported_from String COMMENT 'Name of the file, or api',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version; the highest counts'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY (tenant, user_id, valid_from)
COMMENT 'Users, their departments and names, each for a span of days';

CREATE TABLE {database}.directory_corrections {on_cluster}
(
    run_id String COMMENT 'The run; its entries in llm_calls came between its two rows here',
    started_at DateTime64(3, 'UTC') COMMENT 'When the run began (UTC)',
    state LowCardinality(String) COMMENT 'begun (written before the first entry) or finished (with the totals); a run that only began was broken off, and the next one completes it',
    written_at DateTime64(3, 'UTC') COMMENT 'When this row was written (UTC)',
    changed_by String COMMENT 'Who ran it',
    reason String COMMENT 'Why, in the words of who ran it',
    users Array(String) COMMENT 'Users it was for; empty: all of the directory',
    calls_from Date32 COMMENT 'First day of the calls looked at (UTC)',
    calls_to Date32 COMMENT 'Last day of them (UTC)',
    calls UInt64 COMMENT 'Calls that were booked to another department',
    cost_usd Decimal(38, 12) COMMENT 'Their cost in USD; unpriced calls add nothing'
)
ENGINE = {replicated}MergeTree
ORDER BY (started_at, run_id, state)
COMMENT 'Audit of corrections: calls of the past that were booked to another department';

CREATE VIEW {database}.people {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the user belongs to',
    user_id String COMMENT 'The user, as user_id of the calls has it',
    display_name String COMMENT 'Name people know the user by; empty: not given',
    department LowCardinality(String) COMMENT 'Department that pays for the calls of these days',
    cost_centre LowCardinality(String) COMMENT 'Cost centre; empty: not given',
    valid_from Date32 COMMENT 'First day (UTC) this holds; 1970-01-01: always did',
    valid_to Date32 COMMENT 'Last day (UTC) this holds; 2299-12-31: until further notice',
    is_current Bool COMMENT 'Whether it holds today'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    d.tenant, d.user_id, d.display_name, d.department, d.cost_centre, d.valid_from, d.valid_to,
    d.valid_from <= toDate32(now('UTC')) AND toDate32(now('UTC')) <= d.valid_to AS is_current
FROM {database}.directory AS d FINAL
WHERE NOT d.is_removed
COMMENT 'Users, their departments and names: one row for each span of days';

CREATE VIEW {database}.user_names {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation the user belongs to',
    user_id String COMMENT 'The user, as user_id of the calls has it',
    display_name String COMMENT 'The latest name people know the user by'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT d.tenant, d.user_id, argMax(d.display_name, d.valid_from) AS display_name
FROM {database}.directory AS d FINAL
WHERE NOT d.is_removed AND d.display_name != ''
GROUP BY d.tenant, d.user_id
COMMENT 'One row a user with a name: to be joined where people read';

CREATE VIEW {database}.unknown_users {on_cluster}
(
    day Date COMMENT 'Day of the calls (UTC)',
    tenant LowCardinality(String) COMMENT 'Organisation the calls belong to',
    user_id String COMMENT 'User the calls were made for',
    department LowCardinality(String) COMMENT 'Department the calls were booked to all the same; empty: none',
    reason LowCardinality(String) COMMENT 'unknown (the directory does not have the user), not_valid (it has, but not for this day) or other_tenant (it has the user without a tenant, the call has one, or the other way round)',
    calls Int64 COMMENT 'Calls, net of reversals',
    total_tokens Int64 COMMENT 'Their tokens, as far as they are known',
    cost_usd Decimal(38, 12) COMMENT 'Their billed cost in USD; unpriced calls add nothing'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    r.day, r.tenant, r.user_id, r.department,
    -- Only between a tenant and none: one tenant is not told of another's people.
    multiIf(
        notEmpty(d.firsts), 'not_valid',
        r.tenant != '' AND r.user_id GLOBAL IN (
            SELECT user_id FROM {database}.directory FINAL WHERE NOT is_removed AND tenant = ''
        ), 'other_tenant',
        r.tenant = '' AND r.user_id GLOBAL IN (
            SELECT user_id FROM {database}.directory FINAL WHERE NOT is_removed
        ), 'other_tenant',
        'unknown'
    ) AS reason,
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
COMMENT 'Calls of users whom the directory does not have, by day';

-- What an organisation decides once. Written by `tallyspan settings`; the newest version counts.
CREATE TABLE {database}.organisation_settings {on_cluster}
(
    name LowCardinality(String) COMMENT 'Setting',
    value String COMMENT 'Its value',
    meaning String COMMENT 'What it decides',
    changed_by String COMMENT 'Account and host that wrote this version; empty: as delivered',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version; 0: as delivered'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY name
COMMENT 'Settings of the organisation; edited by tallyspan settings';

INSERT INTO {database}.organisation_settings (name, value, meaning, version) VALUES
    ('time_zone', 'UTC', 'IANA name of the time zone whose days, months, quarters and years budgets, forecasts and comparisons with earlier periods are of', 0);

CREATE VIEW {database}.settings {on_cluster}
(
    name LowCardinality(String) COMMENT 'Setting',
    value String COMMENT 'Its value',
    meaning String COMMENT 'What it decides'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT s.name, s.value, s.meaning FROM {database}.organisation_settings AS s FINAL
COMMENT 'Settings of the organisation as they hold now';

-- The one place that says what day it is. The zone is no constant, so it reaches functions of time
-- through toTimeZone: the others refuse what is unknown when a view is created.
CREATE VIEW {database}.clock {on_cluster}
(
    now DateTime('UTC') COMMENT 'This moment (UTC)',
    time_zone String COMMENT 'IANA name of the time zone of the organisation',
    today Date COMMENT 'Day it is in that zone',
    day_gone Float64 COMMENT 'Part of that day that is over, a ratio'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    ifNull(nullIf((SELECT any(s.value) FROM {database}.organisation_settings AS s FINAL WHERE s.name = 'time_zone'), ''), 'UTC') AS zone,
    toTimeZone(now('UTC'), zone) AS local,
    toStartOfDay(local) AS midnight
SELECT now('UTC') AS now, zone AS time_zone, toDate(local) AS today,
    dateDiff('second', midnight, local) / dateDiff('second', midnight, toStartOfDay(addDays(local, 1))) AS day_gone
COMMENT 'One row: what time it is for budgets, forecasts and comparisons';

CREATE VIEW {database}.running_periods {on_cluster}
(
    period LowCardinality(String) COMMENT 'month, quarter or year',
    time_zone String COMMENT 'IANA name of the time zone of the organisation',
    period_start Date COMMENT 'First day of the period, in that zone',
    started DateTime('UTC') COMMENT 'When the period began (UTC)',
    now DateTime('UTC') COMMENT 'This moment (UTC): the period so far ends before it',
    before_start Date COMMENT 'First day of the period before it, in that zone',
    before_last_day Date COMMENT 'Last of the same days of that, in that zone; it counts to this time of day',
    before_started DateTime('UTC') COMMENT 'When the period before it began (UTC)',
    before_ended DateTime('UTC') COMMENT 'End (UTC) of the same days of that: the same day and time, or the end of a month that has no such day'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT b.period AS period, b.zone AS time_zone, toDate(b.started) AS period_start,
    toTimeZone(b.started, 'UTC') AS started, toTimeZone(b.local, 'UTC') AS now,
    toDate(b.before_started) AS before_start,
    toDate(subtractSeconds(b.before_ended, 1)) AS before_last_day,
    toTimeZone(b.before_started, 'UTC') AS before_started,
    toTimeZone(b.before_ended, 'UTC') AS before_ended
FROM (
    SELECT s.*, addMonths(s.started, -(s.months)) AS before_started, if(toDayOfMonth(addMonths(s.local, -(s.months))) < toDayOfMonth(s.local), toStartOfDay(addMonths(addDays(addMonths(s.local, -(s.months)), 1 - toDayOfMonth(addMonths(s.local, -(s.months)))), 1)), addMonths(s.local, -(s.months))) AS before_ended
    FROM (
        WITH assumeNotNull((SELECT c.time_zone FROM {database}.clock AS c)) AS zone
        SELECT zone, toTimeZone(c.now, zone) AS local, p.name AS period, p.months AS months,
            toStartOfDay(addDays(local, -p.days)) AS started
        FROM {database}.clock AS c
        ARRAY JOIN CAST([
            ('month', 1, toDayOfMonth(local) - 1),
            ('quarter', 3, toDate(local) - toStartOfQuarter(local)),
            ('year', 12, toDayOfYear(local) - 1)],
            'Array(Tuple(name String, months Int32, days Int32))') AS p
    ) AS s
) AS b
COMMENT 'The month, quarter and year so far, and the days of the one before that they compare with';

-- What may be spent, and when somebody is told. Written by `tallyspan budgets`; the newest version of
-- a row counts.
CREATE TABLE {database}.budgets {on_cluster}
(
    scope LowCardinality(String) COMMENT 'What it limits: total, department, user, agent, model, endpoint, tag or cost_centre',
    name String COMMENT 'Which one of them, as the calls or the directory name it; empty for total, KEY=VALUE of a tag, * of each user that has no budget of its own',
    period LowCardinality(String) COMMENT 'How long the amount has to last: month, quarter or year',
    valid_from Date COMMENT 'First day it holds, in the time zone of the organisation; a later one of the same scope, name and period takes over',
    valid_to Date DEFAULT toDate('2149-06-06') COMMENT 'First day it holds no more; 2149-06-06: no end',
    amount_usd Decimal(18, 6) COMMENT 'What may be spent in a period, in USD',
    warn_percent UInt16 COMMENT 'Percent of the amount from which it is nearly used up',
    critical_percent UInt16 COMMENT 'Percent of the amount from which it is exceeded',
    owner String COMMENT 'Who answers for it; empty: nobody was named',
    is_withdrawn Bool COMMENT 'It holds for no day at all',
    changed_by String COMMENT 'Account and host that wrote this version',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY (scope, name, period, valid_from)
COMMENT 'Budgets, each with the days it holds; edited by tallyspan budgets';

CREATE TABLE {database}.alert_settings {on_cluster}
(
    name LowCardinality(String) COMMENT 'Threshold an alert rule reads',
    value Float64 COMMENT 'Its value, in the unit of its meaning',
    meaning String COMMENT 'What it decides, and its unit',
    changed_by String COMMENT 'Account and host that wrote this version; empty: as delivered',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version; 0: as delivered'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY name
COMMENT 'Thresholds of the alert rules; edited by tallyspan budgets thresholds';

INSERT INTO {database}.alert_settings (name, value, meaning, version) VALUES
    ('spike_deviations', 3, 'Spend of a day is a spike from the median of the 28 days before plus so many deviations', 0),
    ('spike_floor_usd', 5, 'Spend of a day below it is never a spike, in USD', 0),
    ('unpriced_calls', 0, 'Calls of the last 24 hours without a price, by model, above which the alert fires', 0),
    ('no_data_minutes', 60, 'Minutes since the last call from which the alert fires', 0),
    ('late_seconds', 300, 'Seconds from the end of a call to the ledger, 95 % of an hour, from which the alert fires', 0),
    ('estimated_percent', 20, 'Percent of the last 24 hours of calls without token counts of the provider from which the alert fires', 0),
    ('bill_drift_percent', 2, 'Percent by which tokens or costs of a provider''s bill differ from what is recorded, from which the alert fires', 0),
    ('dropped_spans', 0, 'Spans a collector lost in the last 15 minutes, above which the alert fires', 0),
    ('refused_requests', 100, 'Requests a collector did not take in the last 15 minutes, from which the alert fires', 0),
    ('insert_failures', 10, 'Inserts the store did not take at once in the last 15 minutes, from which the alert fires', 0),
    ('waiting_megabytes', 50, 'Megabytes that waited in a spool for all of the last 15 minutes, from which the alert fires', 0),
    ('silent_minutes', 10, 'Minutes since a collector that was not stopped last wrote its metrics, from which the alert fires', 0);

CREATE VIEW {database}.alert_thresholds {on_cluster}
(
    name LowCardinality(String) COMMENT 'Threshold an alert rule reads',
    value Float64 COMMENT 'Its value, in the unit of its meaning',
    meaning String COMMENT 'What it decides, and its unit'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT s.name, s.value, s.meaning FROM {database}.alert_settings AS s FINAL
COMMENT 'Thresholds of the alert rules as they hold now';

-- Spend of what has a budget, by day. Every part is empty while no budget asks for it. In UTC days
-- are read from rollups by day, in another zone from those by hour: an hour counts on the day it
-- begins on. Tags are in no rollup: calls of the running period and the one before are read.
CREATE VIEW {database}.budgeted_days {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model, endpoint, tag or cost_centre',
    name String COMMENT 'Which one of them; empty for total, KEY=VALUE of a tag',
    department String COMMENT 'The department, for a budget of one; else empty',
    day Date COMMENT 'Day, in the time zone of the organisation',
    spent_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost of its calls, in USD; NULL: none is priced',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in spent_usd'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    assumeNotNull((SELECT (c.time_zone, c.today) FROM {database}.clock AS c)) AS clock,
    clock.1 AS zone,
    clock.2 AS today,
    zone = 'UTC' AS is_utc,
    today - 800 AS first_day,
    -- What is asked for: (scope, name, period), the names of each scope, and the tags as key and value.
    assumeNotNull((SELECT groupUniqArray((toString(b.scope), b.name, toString(b.period)))
        FROM {database}.budgets AS b FINAL WHERE NOT b.is_withdrawn AND b.valid_to > today - 800)) AS wanted,
    has(wanted.1, 'total') AS of_all,
    arrayFilter(w -> w.1 = 'department', wanted).2 AS departments,
    arrayFilter(w -> w.1 = 'model', wanted).2 AS models,
    arrayFilter(w -> w.1 = 'endpoint', wanted).2 AS endpoints,
    arrayFilter(w -> w.1 = 'agent', wanted).2 AS agents,
    arrayFilter(w -> w.1 = 'user', wanted).2 AS users,
    arrayFilter(w -> w.1 = 'cost_centre', wanted).2 AS cost_centres,
    arrayFilter(w -> w.1 = 'tag', wanted) AS of_tags,
    of_all OR notEmpty(departments) OR notEmpty(models) OR notEmpty(endpoints) AS of_totals,
    has(users, '*') AS of_each_user,
    notEmpty(cost_centres) AS of_cost_centres,
    arrayMap(w -> (w.2, substring(w.2, 1, position(w.2, '=') - 1), substring(w.2, position(w.2, '=') + 1)), of_tags) AS tag_pairs,
    multiIf(has(of_tags.3, 'year'), addYears(toStartOfYear(today), -1),
        has(of_tags.3, 'quarter'), addMonths(toStartOfQuarter(today), -3), addMonths(toStartOfMonth(today), -1)) AS first_tag_day
SELECT d.scope AS scope, d.name AS name, if(d.scope = 'department', d.name, '') AS department, d.day AS day,
    if(sum(d.calls) = sum(d.unpriced_calls) AND sum(d.cost_usd) = 0, NULL, sum(d.cost_usd)) AS spent_usd,
    sum(d.unpriced_calls) AS unpriced_calls
FROM (
    SELECT part.1 AS scope, part.2 AS name, t.day AS day, t.calls AS calls, t.cost_usd AS cost_usd, t.unpriced_calls AS unpriced_calls
    FROM (
        -- Names without a budget are one: few rows are left to be told apart.
        SELECT r.part = 'totals' AS has_totals, r.part = 'agents_alone' AS has_agents, r.day AS day,
            if(has(departments, r.department), r.department, '') AS department, if(has(models, r.model_name), r.model_name, '') AS model_name,
            if(has(endpoints, r.endpoint_id), r.endpoint_id, '') AS endpoint_id, if(has(agents, r.agent_id), r.agent_id, '') AS agent_id,
            sum(r.calls) AS calls, sum(r.cost_usd) AS cost_usd, sum(r.unpriced_calls) AS unpriced_calls
        FROM {database}.rollup_days{all} AS r
        WHERE is_utc AND (of_totals OR notEmpty(agents)) AND r.day >= first_day
            AND ((of_totals AND r.part = 'totals') OR (notEmpty(agents) AND r.part = 'agents_alone'))
        GROUP BY has_totals, has_agents, day, department, model_name, endpoint_id, agent_id
        UNION ALL
        SELECT true AS has_totals, true AS has_agents, toDate(toTimeZone(r.hour, zone)) AS day,
            if(has(departments, r.department), r.department, '') AS department, if(has(models, r.model_name), r.model_name, '') AS model_name,
            if(has(endpoints, r.endpoint_id), r.endpoint_id, '') AS endpoint_id, if(has(agents, r.agent_id), r.agent_id, '') AS agent_id,
            sum(r.calls) AS calls, sum(r.cost_usd) AS cost_usd, sum(r.unpriced_calls) AS unpriced_calls
        FROM {database}.rollup_hourly{all} AS r
        WHERE NOT is_utc AND (of_totals OR notEmpty(agents)) AND r.hour >= toDateTime(first_day - 1, 'UTC')
        GROUP BY day, department, model_name, endpoint_id, agent_id
    ) AS t
    ARRAY JOIN arrayFilter(p -> p.2 != '' OR (p.1 = 'total' AND of_all), arrayConcat(
        if(t.has_totals, [('total', ''), ('department', toString(t.department)), ('model', toString(t.model_name)), ('endpoint', toString(t.endpoint_id))], []),
        if(t.has_agents, [('agent', toString(t.agent_id))], []))) AS part
    UNION ALL
    SELECT part.1 AS scope, part.2 AS name, u.day AS day, u.calls AS calls, u.cost_usd AS cost_usd, u.unpriced_calls AS unpriced_calls
    FROM (
        SELECT r.tenant AS tenant, r.user_id AS user_id, r.department AS department, r.day AS day, r.day AS utc_day,
            r.calls AS calls, r.cost_usd AS cost_usd, r.unpriced_calls AS unpriced_calls
        FROM {database}.rollup_users{all} AS r
        WHERE is_utc AND (notEmpty(users) OR of_cost_centres) AND r.day >= first_day
            AND (of_each_user OR of_cost_centres OR r.user_id IN (SELECT b.name FROM {database}.budgets AS b WHERE b.scope = 'user'))
        UNION ALL
        SELECT r.tenant AS tenant, r.user_id AS user_id, r.department AS department,
            toDate(toTimeZone(r.hour, zone)) AS day, toDate(r.hour) AS utc_day,
            sum(r.calls) AS calls, sum(r.cost_usd) AS cost_usd, sum(r.unpriced_calls) AS unpriced_calls
        FROM {database}.rollup_conversations{all} AS r
        WHERE NOT is_utc AND (notEmpty(users) OR of_cost_centres) AND r.hour >= toDateTime(first_day - 1, 'UTC')
            AND (of_each_user OR of_cost_centres OR r.user_id IN (SELECT b.name FROM {database}.budgets AS b WHERE b.scope = 'user'))
        GROUP BY r.tenant, r.user_id, r.department, day, utc_day
    ) AS u
    GLOBAL ANY LEFT JOIN (
        SELECT c.tenant AS tenant, c.user_id AS user_id,
            groupArray((c.valid_from, c.valid_to, toString(c.department), toString(c.cost_centre))) AS spans
        FROM {database}.directory AS c FINAL WHERE of_cost_centres AND NOT c.is_removed AND c.cost_centre != '' GROUP BY c.tenant, c.user_id
    ) AS c ON c.tenant = u.tenant AND c.user_id = u.user_id
    -- Of whom the directory has no cost centre, that of the department counts, where all its people
    -- of the month have one: as closed months have it (months/lines.py).
    GLOBAL ANY LEFT JOIN (
        SELECT e.tenant AS tenant, e.department AS department, month, toString(any(e.cost_centre)) AS cost_centre
        FROM {database}.directory AS e FINAL
        ARRAY JOIN arrayMap(i -> addMonths(toStartOfMonth(today), 1 - i), range(29)) AS month
        WHERE of_cost_centres AND NOT e.is_removed AND e.cost_centre != ''
            AND e.valid_from < addMonths(month, 1) AND e.valid_to >= month
        GROUP BY e.tenant, e.department, month HAVING uniqExact(e.cost_centre) = 1
    ) AS e ON e.tenant = u.tenant AND e.department = u.department AND e.month = toStartOfMonth(u.utc_day)
    ARRAY JOIN arrayConcat(
        if((of_each_user AND u.user_id != '') OR has(users, u.user_id), [('user', u.user_id)], []),
        if(of_cost_centres, arrayFilter(p -> has(cost_centres, p.2), [('cost_centre', coalesce(nullIf(
            arrayFirst(s -> s.1 <= u.utc_day AND u.utc_day <= s.2 AND s.3 = u.department, c.spans).4, ''), e.cost_centre))]), [])) AS part
    UNION ALL
    SELECT 'tag' AS scope, pair.1 AS name, toDate(toTimeZone(l.start_time, zone)) AS day, toInt64(l.sign) AS calls,
        if(l.is_notional, toDecimal128(0, 12), ifNull(toDecimal128(l.cost_usd, 12), toDecimal128(0, 12))) AS cost_usd,
        toInt64(l.unpriced_calls) AS unpriced_calls
    FROM {database}.llm_calls{all} AS l
    ARRAY JOIN arrayFilter(p -> l.tags[p.2] = p.3, tag_pairs) AS pair
    WHERE notEmpty(of_tags) AND l.start_time >= toDateTime(first_tag_day - 1, 'UTC') AND hasAny(mapValues(l.tags), tag_pairs.3)
) AS d
WHERE d.day >= if(d.scope = 'tag', first_tag_day, first_day)
GROUP BY d.scope, d.name, d.day
COMMENT 'Spend of everything that has a budget, by day, of the last 800 days; of tags since the period before the running one';

-- The budget that counts for a period is the one that holds on its last day; for the running period,
-- the one that holds today. That of each user is there for every user who spent in the period and
-- has none of its own for it. What was spent is read once, also for `budget_status`.
CREATE VIEW {database}.budget_periods {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model, endpoint, tag or cost_centre',
    name String COMMENT 'Which one of them; empty for total, KEY=VALUE of a tag',
    is_each Bool COMMENT 'Whether it is the budget for each user',
    department String COMMENT 'The department, for a budget of one; else empty',
    period LowCardinality(String) COMMENT 'month, quarter or year',
    period_start Date COMMENT 'First day of the period, in the time zone of the organisation',
    period_end Date COMMENT 'First day after it',
    is_current Bool COMMENT 'Whether today is in it',
    amount_usd Decimal(18, 6) COMMENT 'What may be spent in it, in USD',
    warn_percent UInt16 COMMENT 'Percent of the amount from which it is nearly used up',
    critical_percent UInt16 COMMENT 'Percent of the amount from which it is exceeded',
    owner String COMMENT 'Who answers for it',
    spent_usd Decimal(38, 12) COMMENT 'What was spent in it, in USD; calls without a price are not in it',
    used Float64 COMMENT 'spent_usd / amount_usd, a ratio',
    unpriced_calls Int64 COMMENT 'Calls in it without a price',
    today Date COMMENT 'Which day it is',
    day_gone Float64 COMMENT 'Part of that day that is over, a ratio',
    recent Array(Tuple(UInt16, Float64)) COMMENT 'The last four weeks and today: days since 1970, each with what was spent on it in USD'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    assumeNotNull((SELECT (c.today, c.day_gone) FROM {database}.clock AS c)) AS clock,
    clock.1 AS today,
    arrayFilter(m -> m.1 >= p.period_start AND m.1 < p.period_end, s.months) AS of_period,
    held AS (
        SELECT b.scope, b.name, b.period, b.valid_from, b.amount_usd, b.warn_percent, b.critical_percent, b.owner,
            least(b.valid_to, leadInFrame(b.valid_from, 1, toDate('2149-06-06')) OVER (
                PARTITION BY b.scope, b.name, b.period ORDER BY b.valid_from
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) AS held_to
        FROM {database}.budgets AS b FINAL
        WHERE NOT b.is_withdrawn
    ),
    periods AS (
        SELECT held.*,
            arrayJoin(arrayMap(i -> multiIf(
                held.period = 'month', addMonths(toStartOfMonth(today), -i),
                held.period = 'quarter', addMonths(toStartOfQuarter(today), -3 * i),
                addYears(toStartOfYear(today), -i)),
                range(multiIf(held.scope = 'tag' OR held.period = 'year', 2, held.period = 'quarter', 5, 13)))) AS period_start,
            addMonths(period_start, multiIf(held.period = 'month', 1, held.period = 'quarter', 3, 12)) AS period_end
        FROM held
        WHERE held.valid_from <= least(period_end - 1, today) AND held.held_to > least(period_end - 1, today)
    ),
    months AS (
        SELECT d.scope, d.name, toStartOfMonth(d.day) AS month, sum(d.spent_usd) AS spent, sum(d.unpriced_calls) AS unpriced,
            groupArrayIf((toUInt16(d.day), toFloat64(assumeNotNull(d.spent_usd))), d.day >= today - 28 AND d.spent_usd IS NOT NULL) AS days
        FROM {database}.budgeted_days AS d GROUP BY d.scope, d.name, month
    ),
    sums AS (
        SELECT m.scope, m.name, arrayJoin(if(m.scope = 'user', [m.name, '*'], [m.name])) AS budget,
            groupArray((m.month, ifNull(m.spent, toDecimal128(0, 12)), m.unpriced)) AS months,
            arrayFlatten(groupArray(m.days)) AS recent
        FROM months AS m GROUP BY m.scope, m.name
    )
SELECT p.scope AS scope, if(is_each, s.name, p.name) AS name, toBool(p.scope = 'user' AND p.name = '*') AS is_each,
    if(p.scope = 'department', p.name, '') AS department, p.period AS period,
    p.period_start AS period_start, p.period_end AS period_end, toBool(p.period_end > today) AS is_current,
    p.amount_usd AS amount_usd, p.warn_percent AS warn_percent, p.critical_percent AS critical_percent, p.owner AS owner,
    arraySum(m -> m.2, of_period) AS spent_usd,
    toFloat64(spent_usd) / toFloat64(p.amount_usd) AS used,
    arraySum(m -> m.3, of_period) AS unpriced_calls,
    clock.1 AS today, clock.2 AS day_gone, s.recent AS recent
FROM periods AS p LEFT JOIN sums AS s ON p.scope = s.scope AND p.name = s.budget
WHERE NOT is_each OR (notEmpty(of_period) AND (s.name, p.period, p.period_start) NOT IN (
    SELECT o.name, o.period, o.period_start FROM periods AS o WHERE o.scope = 'user'))
COMMENT 'Every budget and its periods: 13 months, 5 quarters, 2 years, the running one included; of a tag the running one and the one before';

CREATE VIEW {database}.budget_status {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model, endpoint, tag or cost_centre',
    name String COMMENT 'Which one of them; empty for total, KEY=VALUE of a tag',
    is_each Bool COMMENT 'Whether it is the budget for each user',
    department String COMMENT 'The department, for a budget of one; else empty',
    period LowCardinality(String) COMMENT 'month, quarter or year',
    period_start Date COMMENT 'First day of the running period, in the time zone of the organisation',
    period_end Date COMMENT 'First day after it',
    amount_usd Decimal(18, 6) COMMENT 'What may be spent in it, in USD',
    warn_percent UInt16 COMMENT 'Percent of the amount from which it is nearly used up',
    critical_percent UInt16 COMMENT 'Percent of the amount from which it is exceeded',
    owner String COMMENT 'Who answers for it',
    spent_usd Decimal(38, 12) COMMENT 'What was spent in it so far, in USD; calls without a price are not in it',
    days_left UInt16 COMMENT 'Whole days to come in it, today not counted',
    left_usd Decimal(38, 12) COMMENT 'amount_usd - spent_usd, in USD; below 0: overspent',
    used Float64 COMMENT 'spent_usd / amount_usd, a ratio',
    unpriced_calls Int64 COMMENT 'Calls in it without a price',
    forecast_usd Nullable(Decimal(38, 6)) COMMENT 'Spend of the whole period: spent, what is left of today, and weekday means of the last 28 days, in USD; NULL: fewer than 3 days known',
    forecast_low_usd Nullable(Decimal(38, 6)) COMMENT 'Lower end of the band of the forecast, in USD: 8 of 10 periods end in the band if days go on to scatter as they did',
    forecast_high_usd Nullable(Decimal(38, 6)) COMMENT 'Upper end of that band, in USD',
    forecast_used Nullable(Float64) COMMENT 'forecast_usd / amount_usd, a ratio',
    used_up_on Nullable(Date) COMMENT 'Day on which the amount is used up by the forecast; NULL: not in this period, or it is already',
    state LowCardinality(String) COMMENT 'over (at critical_percent), warning (at warn_percent), forecast over (the forecast is above the amount) or ok'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    p.scope AS scope,
    p.name AS name,
    p.is_each AS is_each,
    p.department AS department,
    p.period AS period,
    p.period_start AS period_start,
    p.period_end AS period_end,
    p.amount_usd AS amount_usd,
    p.warn_percent AS warn_percent,
    p.critical_percent AS critical_percent,
    p.owner AS owner,
    p.spent_usd AS spent_usd,
    toUInt16(p.period_end - 1 - p.today) AS days_left,
    p.amount_usd - p.spent_usd AS left_usd,
    p.used AS used,
    p.unpriced_calls AS unpriced_calls,
    if(days_known < 3, NULL, toDecimal128(toFloat64(spent_usd) + expected, 6)) AS forecast_usd,
    if(days_known < 3, NULL, toDecimal128(toFloat64(spent_usd) + greatest(0, expected - band), 6)) AS forecast_low_usd,
    if(days_known < 3, NULL, toDecimal128(toFloat64(spent_usd) + expected + band, 6)) AS forecast_high_usd,
    toFloat64(forecast_usd) / toFloat64(p.amount_usd) AS forecast_used,
    if(forecast_used IS NULL OR p.spent_usd >= p.amount_usd OR forecast_used <= 1, NULL, p.today + arrayFirstIndex(c -> toFloat64(p.spent_usd) + c >= toFloat64(p.amount_usd), arrayCumSum(p.to_come)) - 1) AS used_up_on,
    multiIf(p.used * 100 >= p.critical_percent, 'over', p.used * 100 >= p.warn_percent, 'warning', ifNull(forecast_used > 1, false), 'forecast over', 'ok') AS state
FROM (SELECT b.*,
    mapFromArrays(b.recent.1, b.recent.2) AS spent_on,
    if(empty(b.recent), 0, toUInt16(least(28, b.today - toDate(arrayMin(b.recent.1)))))
        AS days_known,
    range(1, days_known + 1) AS ago,
    arrayMap(i -> spent_on[toUInt16(b.today - i)], ago) AS past,
    arrayMap(w -> if(days_known < 7, arraySum(past) / greatest(days_known, 1),
        arrayAvg(arrayFilter((a, i) -> toDayOfWeek(b.today - i) = w, past, ago))), range(1, 8)) AS means,
    range(0, toUInt16(b.period_end - b.today)) AS ahead,
    arrayMap(d -> means[toDayOfWeek(b.today + d)] * if(d = 0, 1 - b.day_gone, 1.), ahead) AS to_come,
    arraySum(to_come) AS expected,
    length(ahead) - b.day_gone AS days_ahead,
    -- Days scatter around the mean of their weekday, and that is a mean of few.
    arraySum(arrayMap((a, i) -> pow(a - means[toDayOfWeek(b.today - i)], 2), past, ago))
        / greatest(days_known - if(days_known < 7, 1, 7), 1) AS scatter,
    if(days_known < 7, pow(days_ahead, 2) / greatest(days_known, 1), arraySum(arrayMap(
        w -> pow(arraySum(arrayMap(d -> if(toDayOfWeek(b.today + d) = w, if(d = 0, 1 - b.day_gone, 1.), 0.), ahead)), 2)
            / greatest(arrayCount(i -> toDayOfWeek(b.today - i) = w, ago), 1), range(1, 8)))) AS of_means,
    -- Weeks differ more than their days say where the level moves.
    arrayMap(k -> arraySum(arraySlice(past, 7 * k + 1, 7)), range(intDiv(days_known, 7))) AS weeks,
    if(length(weeks) < 2, 0., greatest(0., arrayReduce('varSamp', weeks) - 7 * scatter))
        AS of_weeks,
    1.323 * sqrt(scatter * (days_ahead + of_means)
        + of_weeks * pow(days_ahead / 7, 2) * (1 + 1 / greatest(length(weeks), 1))) AS band
FROM (SELECT s.* FROM {database}.budget_periods AS s WHERE s.is_current) AS b) AS p
COMMENT 'Every budget that holds today: spent, left, forecast, state';

-- Who changed the cost of calls that were booked already, why, and by how much.
CREATE TABLE {database}.price_changes {on_cluster}
(
    run_id String COMMENT 'The run; its entries in llm_calls came between its two rows here',
    kind LowCardinality(String) COMMENT 'reprice (a person asked for it), backfill (a price for unpriced calls arrived), commitment (shares of commitments, and the calls they pay for), imported (what providers report and no span tells of), true_up (what bills have and the ledger has not), prior_period (corrections of closed months), librechat (calls of LibreChat''s ledger that no span tells of), sent_twice (several collectors booked the same spans; all bookings but one are taken back), split_trace (spans of a trace came to several collectors; it is charged as if to one) or remainder (calls were taken back after a price change, and what it left is booked away)',
    started_at DateTime64(3, 'UTC') COMMENT 'When the run began (UTC)',
    state LowCardinality(String) COMMENT 'begun (written before the first entry) or finished (with the totals); a run that only began was broken off, and the next one completes it',
    written_at DateTime64(3, 'UTC') COMMENT 'When this row was written (UTC)',
    changed_by String COMMENT 'Who ran it',
    reason String COMMENT 'Why, in the words of who ran it',
    calls_from DateTime64(6, 'UTC') COMMENT 'Start of the calls looked at (UTC)',
    calls_to DateTime64(6, 'UTC') COMMENT 'End of them, excluded (UTC)',
    scope String COMMENT 'Which of them, as JSON: model, provider, endpoint, department',
    calls UInt64 COMMENT 'Calls whose cost changed',
    newly_priced_calls UInt64 COMMENT 'Those of them that had no price before',
    old_cost_usd Decimal(38, 12) COMMENT 'Their cost before, in USD',
    new_cost_usd Decimal(38, 12) COMMENT 'Their cost after, in USD',
    old_price_ids Array(String) COMMENT 'Prices they were booked with',
    new_price_ids Array(String) COMMENT 'Prices they have now'
)
ENGINE = {replicated}MergeTree
ORDER BY (started_at, run_id)
COMMENT 'Audit of price changes to booked calls; the amounts themselves are entries of llm_calls';

CREATE TABLE {database}.price_books {on_cluster}
(
    hash String COMMENT 'Of the price file and the version of the bundled prices, hex',
    loaded_at DateTime64(3, 'UTC') COMMENT 'When a collector first used it (UTC)',
    loaded_by String COMMENT 'Account and host of that collector',
    bundled String COMMENT 'Bundled prices behind the file, such as genai-prices 0.2.3',
    file_name String COMMENT 'Name of the price file; empty: there is none',
    content String CODEC(ZSTD(1)) COMMENT 'The price file as it was',
    price_ids Array(String) COMMENT 'Its entries',
    added Array(String) COMMENT 'Price ids that came with this version',
    removed Array(String) COMMENT 'Price ids that went with it'
)
ENGINE = {replicated}MergeTree
ORDER BY (loaded_at, hash)
COMMENT 'Every version of the price book: what it said, since when, who loaded it';

-- What a second source charges, and where it is not what we charge: the comparison that a release comes with.
CREATE TABLE {database}.second_price_lines {on_cluster}
(
    source LowCardinality(String) COMMENT 'The second source and its version, such as litellm 1.110.2',
    compared_on Date COMMENT 'Day that both prices are of',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When a collector stored the comparison (UTC)',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    model_name String COMMENT 'Model, in lower case',
    service_tier LowCardinality(String) COMMENT 'Tier the price is of; empty: the standard one',
    input_usd Nullable(Decimal(18, 12)) COMMENT 'What the second source charges for a million tokens of input, in USD; NULL: it does not say',
    output_usd Nullable(Decimal(18, 12)) COMMENT 'The same for output, in USD',
    state LowCardinality(String) COMMENT 'equal, explained (somebody has found out why the two differ) or unexplained',
    difference_percent Nullable(Float64) COMMENT 'Largest difference of a class of tokens, ours less theirs, in percent of theirs; NULL: they are equal',
    cause String COMMENT 'Why the two differ; empty: they do not, or nobody knows'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}recorded_at)
ORDER BY (source, provider_name, model_name, service_tier)
COMMENT 'The prices of a second source beside ours, by release';

CREATE VIEW {database}.second_prices {on_cluster}
(
    source LowCardinality(String) COMMENT 'The second source and its version',
    compared_on Date COMMENT 'Day that both prices are of',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, ...',
    model_name String COMMENT 'Model, in lower case',
    service_tier LowCardinality(String) COMMENT 'Tier the price is of; empty: the standard one',
    input_usd Nullable(Decimal(18, 12)) COMMENT 'What the second source charges for a million tokens of input, in USD; NULL: it does not say',
    output_usd Nullable(Decimal(18, 12)) COMMENT 'The same for output, in USD',
    state LowCardinality(String) COMMENT 'equal, explained or unexplained',
    difference_percent Nullable(Float64) COMMENT 'Largest difference of a class of tokens, ours less theirs, in percent of theirs; NULL: they are equal',
    cause String COMMENT 'Why the two differ; empty: they do not, or nobody knows'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.source, l.compared_on, l.provider_name, l.model_name, l.service_tier, l.input_usd,
    l.output_usd, l.state, l.difference_percent, l.cause
FROM {database}.second_price_lines AS l FINAL
WHERE (l.source, l.compared_on) IN (
    SELECT argMax(source, recorded_at), argMax(compared_on, recorded_at)
    FROM {database}.second_price_lines)
COMMENT 'The latest comparison with a second source';

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

-- Months that finance has closed: what they were closed with, and who did.
CREATE TABLE {database}.month_closes {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    version UInt32 COMMENT 'Which close of the month: 1, 2, ...',
    state LowCardinality(String) COMMENT 'closed or reopened',
    written_at DateTime64(3, 'UTC') COMMENT 'When (UTC)',
    written_by String COMMENT 'Account and host that did it',
    reason String COMMENT 'Why, in their words',
    cost_usd Decimal(38, 12) COMMENT 'Total it was closed with, in USD',
    lines UInt64 COMMENT 'How many lines closed_month_lines has of it',
    checks String COMMENT 'What was checked and with which result, as JSON',
    accepted Map(LowCardinality(String), String) COMMENT 'Checks that failed and were accepted: name -> reason'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}written_at)
ORDER BY (month, version, state)
COMMENT 'Audit of closed and reopened months; the last row of a month says what it is';

CREATE TABLE {database}.closed_month_lines {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    version UInt32 COMMENT 'Which close of the month',
    tenant LowCardinality(String) COMMENT 'Organisation',
    department LowCardinality(String) COMMENT 'Department that pays; empty: nobody said',
    cost_centre LowCardinality(String) COMMENT 'Cost centre by the directory: of the user on that day, else of the department where all its users have one; empty: not given',
    user_id String COMMENT 'User',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant',
    model_name LowCardinality(String) COMMENT 'Model',
    provider_name LowCardinality(String) COMMENT 'Provider',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint',
    service_name LowCardinality(String) COMMENT 'Emitting service',
    calls Int64 COMMENT 'Calls, net of duplicates',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    input_tokens Int64 COMMENT 'Prompt tokens, cache included, as far as they are known',
    output_tokens Int64 COMMENT 'Generated tokens, as far as they are known',
    cost_usd Decimal(38, 12) COMMENT 'Billed cost in USD; the columns below are parts of it, the rest is of calls billed one by one',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'What providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'What bills have and nothing else in the ledger, in USD',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Corrections of months that were closed before, in USD',
    written_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When the month was closed (UTC)'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}written_at)
ORDER BY (month, version, tenant, department, cost_centre, user_id, agent_id, model_name, provider_name, endpoint_id, service_name)
COMMENT 'What months were closed with, each version';

CREATE VIEW {database}.months {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    state LowCardinality(String) COMMENT 'closed or reopened',
    version UInt32 COMMENT 'Which close of the month that is',
    written_at DateTime64(3, 'UTC') COMMENT 'Since when (UTC)',
    written_by String COMMENT 'Account and host that did it',
    reason String COMMENT 'Why, in their words',
    cost_usd Decimal(38, 12) COMMENT 'Total it was last closed with, in USD',
    checks String COMMENT 'What was checked at that close, as JSON',
    accepted Map(LowCardinality(String), String) COMMENT 'Checks that failed and were accepted: name -> reason'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT m.month AS month, m.state AS state, m.version AS version, m.written_at AS written_at,
    m.written_by AS written_by, m.reason AS reason, m.cost_usd AS cost_usd, m.checks AS checks,
    m.accepted AS accepted
FROM {database}.month_closes AS m
ORDER BY m.month, m.written_at DESC, m.version DESC LIMIT 1 BY m.month
COMMENT 'Months that were ever closed, and what each is now';

CREATE VIEW {database}.closed_months {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    version UInt32 COMMENT 'Which close of the month that is',
    tenant LowCardinality(String) COMMENT 'Organisation',
    department LowCardinality(String) COMMENT 'Department that pays; empty: nobody said',
    cost_centre LowCardinality(String) COMMENT 'Cost centre by the directory; empty: not given',
    user_id String COMMENT 'User',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant',
    model_name LowCardinality(String) COMMENT 'Model',
    provider_name LowCardinality(String) COMMENT 'Provider',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint',
    service_name LowCardinality(String) COMMENT 'Emitting service',
    calls Int64 COMMENT 'Calls, net of duplicates',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in cost_usd',
    input_tokens Int64 COMMENT 'Prompt tokens, cache included, as far as they are known',
    output_tokens Int64 COMMENT 'Generated tokens, as far as they are known',
    cost_usd Decimal(38, 12) COMMENT 'Billed cost in USD; the columns below are parts of it',
    commitment_cost_usd Decimal(38, 12) COMMENT 'Shares of provisioned throughput, in USD',
    plan_cost_usd Decimal(38, 12) COMMENT 'Shares of plans and seats, in USD',
    unused_cost_usd Decimal(38, 12) COMMENT 'Commitments, seats and minimums that nobody used, in USD',
    imported_cost_usd Decimal(38, 12) COMMENT 'What providers report and no span tells of, in USD',
    true_up_cost_usd Decimal(38, 12) COMMENT 'What bills have and nothing else in the ledger, in USD',
    prior_period_cost_usd Decimal(38, 12) COMMENT 'Corrections of months that were closed before, in USD'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    l.month, l.version, l.tenant, l.department, l.cost_centre, l.user_id, l.agent_id, l.model_name,
    l.provider_name, l.endpoint_id, l.service_name, l.calls, l.unpriced_calls, l.input_tokens,
    l.output_tokens, l.cost_usd, l.commitment_cost_usd, l.plan_cost_usd, l.unused_cost_usd, l.imported_cost_usd,
    l.true_up_cost_usd, l.prior_period_cost_usd
FROM {database}.closed_month_lines AS l FINAL
WHERE (l.month, l.version) IN (
    SELECT m.month, argMax(m.version, (m.written_at, m.version)) FROM {database}.month_closes AS m
    GROUP BY m.month HAVING argMax(m.state, (m.written_at, m.version)) = 'closed')
COMMENT 'What the closed months were closed with: reports of a closed month are of these';

CREATE VIEW {database}.month_corrections {on_cluster}
(
    closed_month Date COMMENT 'First day of the closed month that is corrected',
    booked_in Date COMMENT 'First day of the month the correction is booked in',
    tenant LowCardinality(String) COMMENT 'Organisation',
    department LowCardinality(String) COMMENT 'Department that pays; empty: nobody said',
    user_id String COMMENT 'User',
    agent_id LowCardinality(String) COMMENT 'Agent or assistant',
    model_name LowCardinality(String) COMMENT 'Model',
    provider_name LowCardinality(String) COMMENT 'Provider',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint',
    service_name LowCardinality(String) COMMENT 'Emitting service',
    cost_usd Decimal(38, 12) COMMENT 'What is booked more or less, in USD',
    booked_at DateTime64(3, 'UTC') COMMENT 'When the last of it was booked (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toDate(parseDateTimeBestEffortOrZero(concat(l.tags['closed_month'], '-01'), 'UTC'), 'UTC') AS closed_month,
    toStartOfMonth(toDate(l.start_time, 'UTC')) AS booked_in, l.tenant AS tenant,
    l.department AS department, l.user_id AS user_id, l.agent_id AS agent_id,
    l.model_name AS model_name, l.provider_name AS provider_name, l.endpoint_id AS endpoint_id,
    l.service_name AS service_name, sum(ifNull(l.cost_usd, toDecimal64(0, 12))) AS cost_usd,
    max(l.ingested_at) AS booked_at
FROM {database}.llm_calls{all} AS l
WHERE l.entry_kind = 'prior_period' AND l.tags['closed_month'] != ''
GROUP BY closed_month, booked_in, l.tenant, l.department, l.user_id, l.agent_id, l.model_name,
    l.provider_name, l.endpoint_id, l.service_name
HAVING cost_usd != 0
COMMENT 'Corrections of closed months, and the month each is booked in';

CREATE VIEW {database}.month_totals {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    state LowCardinality(String) COMMENT 'open, closed or reopened',
    version UInt32 COMMENT 'Which close of the month was the last; 0: none',
    written_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was closed or opened again (UTC); NULL: never',
    written_by String COMMENT 'Account and host that did it',
    reason String COMMENT 'Why, in their words',
    accepted Map(LowCardinality(String), String) COMMENT 'Checks that failed and were accepted: name -> reason',
    recorded_usd Decimal(38, 12) COMMENT 'What is recorded, imported and committed, in USD',
    true_up_usd Decimal(38, 12) COMMENT 'What bills have beyond it, in USD',
    prior_period_usd Decimal(38, 12) COMMENT 'Corrections of closed months, in USD; in a closed month, what was moved out of it',
    cost_usd Decimal(38, 12) COMMENT 'All of these, in USD',
    billed_usd Nullable(Decimal(38, 12)) COMMENT 'What bills say of its days, in USD; NULL: no bill is kept of it',
    closed_usd Nullable(Decimal(38, 12)) COMMENT 'What it was last closed with, in USD; NULL: it never was',
    unpriced_calls Int64 COMMENT 'Calls without a price: they are missing in cost_usd'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    u.month AS month, if(m.version = 0, 'open', m.state) AS state, m.version AS version,
    if(m.version = 0, NULL, m.written_at) AS written_at, m.written_by AS written_by,
    m.reason AS reason, m.accepted AS accepted, u.cost - u.true_up - u.prior AS recorded_usd,
    u.true_up AS true_up_usd, u.prior AS prior_period_usd, u.cost AS cost_usd,
    b.billed AS billed_usd, if(m.version = 0, NULL, m.cost_usd) AS closed_usd,
    u.unpriced AS unpriced_calls
FROM (
    SELECT e.month AS month, sum(e.cost) AS cost, sum(e.true_up) AS true_up, sum(e.prior) AS prior,
        sum(e.unpriced) AS unpriced
    FROM (
        SELECT toStartOfMonth(t.day) AS month, ifNull(t.cost_usd, 0) AS cost,
            t.true_up_cost_usd AS true_up, t.prior_period_cost_usd AS prior,
            t.unpriced_calls AS unpriced
        FROM {database}.usage_totals AS t
        UNION ALL SELECT c.month, 0, 0, 0, 0 FROM {database}.months AS c
    ) AS e
    GROUP BY month
) AS u
LEFT JOIN {database}.months AS m ON m.month = u.month
LEFT JOIN (
    SELECT toStartOfMonth(d.day) AS month, toNullable(sum(d.billed_usd)) AS billed
    FROM {database}.bills AS d GROUP BY month
) AS b ON b.month = u.month
COMMENT 'Every month with calls or a close: recorded, trued up, corrected, billed, closed';

CREATE VIEW {database}.department_months {on_cluster}
(
    month Date COMMENT 'First day (UTC) of the month',
    tenant LowCardinality(String) COMMENT 'Organisation',
    department LowCardinality(String) COMMENT 'Department that pays; empty: nobody said',
    state LowCardinality(String) COMMENT 'open, closed or reopened',
    version UInt32 COMMENT 'Which close of the month was the last; 0: none',
    calls Int64 COMMENT 'Calls, net of duplicates',
    recorded_usd Decimal(38, 12) COMMENT 'What is recorded, imported and committed, in USD',
    true_up_usd Decimal(38, 12) COMMENT 'What bills have beyond it, in USD',
    prior_period_usd Decimal(38, 12) COMMENT 'Corrections of closed months, in USD',
    cost_usd Decimal(38, 12) COMMENT 'All of these, in USD',
    unpriced_calls Int64 COMMENT 'Calls without a price: they are missing in cost_usd'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    u.month AS month, u.tenant AS tenant, u.department AS department,
    if(m.version = 0, 'open', m.state) AS state, m.version AS version, u.calls AS calls,
    u.cost - u.true_up - u.prior AS recorded_usd, u.true_up AS true_up_usd,
    u.prior AS prior_period_usd, u.cost AS cost_usd, u.unpriced AS unpriced_calls
FROM (
    SELECT toStartOfMonth(t.day) AS month, t.tenant AS tenant, t.department AS department,
        sum(t.calls) AS calls, sum(ifNull(t.cost_usd, 0)) AS cost,
        sum(t.true_up_cost_usd) AS true_up, sum(t.prior_period_cost_usd) AS prior,
        sum(t.unpriced_calls) AS unpriced
    FROM {database}.usage_totals AS t GROUP BY month, t.tenant, t.department
) AS u
LEFT JOIN {database}.months AS m ON m.month = u.month
COMMENT 'Every month by department: recorded, trued up, corrected';

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

-- What collectors say of themselves, once a minute: so that an alert needs no other store than this one.
CREATE TABLE {database}.collector_metrics {on_cluster}
(
    at DateTime('UTC') CODEC(Delta(4), ZSTD(1)) COMMENT 'When the collector wrote it (UTC)',
    collector LowCardinality(String) COMMENT 'Host and data folder of the collector',
    name LowCardinality(String) COMMENT 'Metric, as /metrics has it, such as tallyspan_spans_dropped_total',
    labels LowCardinality(String) COMMENT 'Its labels, such as reason=buried; several are separated by commas',
    kind LowCardinality(String) COMMENT 'counter (value is what came since the row before it) or gauge (value is the value)',
    value Float64 CODEC(ZSTD(1)) COMMENT 'See kind; the unit is in the name, else a count'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}at)
PARTITION BY toYYYYMM(at)
ORDER BY (at, collector, name, labels)
TTL at + INTERVAL 30 DAY
COMMENT 'Metrics of collectors, kept for 30 days; counters that did not move have no row';

-- What each collector has of a trace that others have a part of: the trace is resolved from all parts together.
CREATE TABLE {database}.split_traces {on_cluster}
(
    tenant LowCardinality(String) COMMENT 'Organisation whose ingest keys the spans came with; empty without keys',
    trace_id FixedString(32) COMMENT 'Trace id, 32 lower-case hex digits',
    collector LowCardinality(String) COMMENT 'Host and data folder of the collector',
    at DateTime64(3, 'UTC') COMMENT 'When the collector wrote it (UTC)',
    first_start DateTime64(6, 'UTC') COMMENT 'When the first of its spans began (UTC)',
    last_start DateTime64(6, 'UTC') COMMENT 'When the last of its spans began (UTC)',
    places Array(UInt64) COMMENT 'Numbers of the places where its calls may meet those of other traces',
    layout LowCardinality(String) COMMENT 'Names of the fields in state, as JSON',
    state String CODEC(ZSTD(3)) COMMENT 'Its spans, and what the collector booked for them, as JSON'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}at)
ORDER BY (trace_id, tenant, collector)
TTL toDateTime(at) + INTERVAL 3 DAY
COMMENT 'Traces whose spans came to several collectors, kept for 3 days after their last span';

-- A collector that was stopped says so and is no longer looked for; one that died is silent.
CREATE VIEW {database}.collector_health {on_cluster}
(
    collector String COMMENT 'Host and data folder of the collector',
    last_seen DateTime('UTC') COMMENT 'When it last wrote its metrics (UTC), within the last day',
    is_stopped Bool COMMENT 'Whether it was stopped then, and has not begun again',
    calls UInt64 COMMENT 'Calls it put into the ledger in the last 15 minutes',
    lost_spans UInt64 COMMENT 'Spans of the last 15 minutes that are in no ledger: malformed, buried or without a time',
    refused_requests UInt64 COMMENT 'Requests of the last 15 minutes it did not take: refused, unauthenticated, malformed or failed',
    insert_failures UInt64 COMMENT 'Inserts of the last 15 minutes that the store did not take at once',
    waiting_bytes Nullable(UInt64) COMMENT 'Bytes that waited for the store through all of the last 15 minutes; NULL: it said nothing in them',
    is_price_file_broken Bool COMMENT 'Whether its price file cannot be used, and the prices before it are'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    toString(m.collector) AS collector,
    max(m.at) AS last_seen,
    maxIf(m.at, m.name = 'tallyspan_collector_stopped') >= last_seen AS is_stopped,
    toUInt64(sumIf(m.value, m.name = 'tallyspan_calls_stored_total' AND is_recent)) AS calls,
    toUInt64(sumIf(m.value, m.name = 'tallyspan_spans_dropped_total' AND m.labels IN ('reason=malformed', 'reason=buried', 'reason=untimed') AND is_recent)) AS lost_spans,
    toUInt64(sumIf(m.value, m.name = 'tallyspan_requests_total' AND m.labels != 'outcome=accepted' AND is_recent)) AS refused_requests,
    toUInt64(sumIf(m.value, m.name = 'tallyspan_insert_failures_total' AND is_recent)) AS insert_failures,
    toUInt64(minIfOrNull(m.value, m.name = 'tallyspan_spool_bytes' AND is_recent)) AS waiting_bytes,
    argMaxIf(m.value, m.at, m.name = 'tallyspan_price_file_broken') > 0 AS is_price_file_broken
FROM (
    SELECT at, collector, name, labels, value, at > now('UTC') - INTERVAL 15 MINUTE AS is_recent
    FROM {database}.collector_metrics WHERE at > now('UTC') - INTERVAL 1 DAY
) AS m
GROUP BY m.collector
COMMENT 'Collectors of the last day, and what went wrong with each in the last 15 minutes';

-- The labels are `provider=...,request=...`: neither has a comma in it.
CREATE VIEW {database}.requests_not_understood {on_cluster}
(
    provider String COMMENT 'Whose host it is',
    request String COMMENT 'Method, host and path, where * stands for an id or a name; other: further ones',
    requests UInt64 COMMENT 'How many services sent in the last 30 days',
    first_seen DateTime('UTC') COMMENT 'When a collector first counted one in these days (UTC)',
    last_seen DateTime('UTC') COMMENT 'When a collector last counted one (UTC)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    replaceOne(splitByChar(',', toString(m.labels))[1], 'provider=', '') AS provider,
    replaceOne(splitByChar(',', toString(m.labels))[2], 'request=', '') AS request,
    toUInt64(sum(m.value)) AS requests,
    min(m.at) AS first_seen,
    max(m.at) AS last_seen
FROM {database}.collector_metrics AS m
WHERE m.name = 'tallyspan_requests_not_understood_total'
GROUP BY m.labels
COMMENT 'Requests to providers of the last 30 days that no format knows: no call is booked for them';

-- Keys of collectors: digests only. The newest version of an id counts.
CREATE TABLE {database}.api_keys {on_cluster}
(
    id String COMMENT 'Public name of the key, 8 hex digits',
    role LowCardinality(String) COMMENT 'ingest (sends calls), admin (reads costs), app (reads the cost of a conversation) or chat (asks over MCP for users)',
    name String COMMENT 'What people call it: a service, a person',
    digest String COMMENT 'SHA-256 of the key, hex; the key itself is kept nowhere',
    department String COMMENT 'Department of calls sent with it that name none; empty: none',
    tenant String COMMENT 'Tenant of calls sent with it',
    departments Array(String) COMMENT 'Departments an admin key may see; empty: all',
    rate_limit UInt32 COMMENT 'Requests a second it may make; 0: no limit',
    expires_s Int64 COMMENT 'When it ends, seconds since 1970; 0: never',
    revoked_s Int64 COMMENT 'When it was revoked, seconds since 1970; 0: it was not',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY id
COMMENT 'Keys of collectors and admins, as digests';

-- Who asked the admin API for what. Written in batches; no key and no token is in it.
CREATE TABLE {database}.api_audit {on_cluster}
(
    at DateTime64(3, 'UTC') COMMENT 'When the request came (UTC)',
    id UInt64 CODEC(ZSTD(1)) COMMENT 'Tells requests of the same millisecond apart',
    key_id String COMMENT 'Public id of the key, or oidc:<subject>; empty: none that is valid',
    key_name String COMMENT 'Name of the key, or what the identity provider calls the person',
    role LowCardinality(String) COMMENT 'admin or app; empty: refused before there was one',
    client String COMMENT 'Address the request came from',
    method LowCardinality(String) COMMENT 'HTTP method',
    path String COMMENT 'Path of the request, cut at 500 characters, what looks like a key blacked out',
    query String COMMENT 'Query string as sent, cut at 2000 characters, what looks like a key blacked out',
    status UInt16 COMMENT 'HTTP status of the answer',
    rows UInt32 COMMENT 'Rows of the answer',
    duration_ms UInt32 COMMENT 'From the request to the end of the answer, in milliseconds'
)
ENGINE = {replicated}MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, id)
TTL toDateTime(at) + INTERVAL 400 DAY
COMMENT 'Audit of the admin API: who asked what, when, and how it was answered; kept for 400 days';

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

CREATE VIEW {database}.token_usage {on_cluster}
(
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    display_name String COMMENT 'Name people know the user by, from the directory; empty: it has none',
    department String COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call; empty for none',
    conversation_id String COMMENT 'Conversation, chat or session the call belongs to; empty for none',
    model_name String COMMENT 'Model for reports and prices: as the provider names it, else as asked for',
    endpoint_id String COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    prompt_tokens Nullable(Int64) COMMENT 'Prompt tokens, cache reads and writes, audio and images included; NULL: unknown',
    completion_tokens Nullable(Int64) COMMENT 'Generated tokens, reasoning and audio included; NULL: unknown',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    estimated_cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost in USD, net of reversals and price changes; 0 when notional; NULL: not priced',
    timestamp DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    c.log_id AS log_id,
    c.user_id AS user_id,
    n.display_name AS display_name,
    c.department AS department,
    c.agent_id AS agent_id,
    c.conversation_id AS conversation_id,
    c.model_name AS model_name,
    c.endpoint_id AS endpoint_id,
    c.input_tokens AS prompt_tokens,
    c.output_tokens AS completion_tokens,
    c.total_tokens AS total_tokens,
    c.cost_usd AS estimated_cost_usd,
    c.start_time AS timestamp
FROM {database}.calls AS c
ANY LEFT JOIN {database}.user_names AS n ON n.tenant = c.tenant AND n.user_id = c.user_id
COMMENT 'One row a call, net: who, which model, how many tokens, what it cost';
