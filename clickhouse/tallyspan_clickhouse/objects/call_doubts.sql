-- All that is doubtful about single calls, by kind. The other cost is about the first price flag of a
-- call. A flag named x_unknown is about the condition x.
CREATE VIEW {database}.call_doubts {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call; empty for none',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served; empty: not stated',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
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
    c.user_id AS user_id,
    c.department AS department,
    c.agent_id AS agent_id,
    c.tenant AS tenant,
    c.source AS source,
    c.service_name AS service_name,
    c.provider_name AS provider_name,
    c.endpoint_id AS endpoint_id,
    c.model_name AS model_name,
    c.service_tier AS service_tier,
    c.trace_id AS trace_id,
    c.span_id AS span_id,
    c.total_tokens AS total_tokens,
    toLowCardinality(each.1) AS kind,
    toLowCardinality(each.2) AS doubt,
    c.cost_usd AS cost_usd,
    if(kind = 'price' AND doubt = c.price_flags[1], c.other_cost_usd, NULL) AS other_cost_usd,
    multiIf(
        kind != 'price', '',
        endsWith(doubt, '_unknown'),
            concat('conditions: [', place, ', set: {', replaceRegexpOne(doubt, '_unknown$', ''), ': VALUE}}]'),
        doubt = 'tier_assumed',
            concat('prices: [', place_and_model, ', service_tier: ', yaml(c.service_tier), ', unit: 1M tokens, input: USD, output: USD}]'),
        doubt = 'condition_assumed',
            concat('factors: [', place_and_model, ', CONDITION: VALUE, times: FACTOR}]'),
        doubt = 'unpriced_meter',
            concat('fees: [', place, ', METER: USD}]'),
        ''
    ) AS setting
FROM {database}.calls AS c
ARRAY JOIN arrayConcat(
    arrayMap(path -> ('unread', toString(path)), c.unread),
    arrayMap(flag -> ('quality', toString(flag)), c.quality_flags),
    arrayMap(flag -> ('price', toString(flag)), c.price_flags)
) AS each
WHERE notEmpty(c.unread) OR notEmpty(c.quality_flags) OR notEmpty(c.price_flags)
COMMENT 'One row a call and doubt, net; a call with several has its cost in several rows, so add up one doubt at a time';

-- Prices that nobody has decided.
CREATE VIEW {database}.call_price_doubts {on_cluster}
(
    start_time DateTime64(6, 'UTC') COMMENT 'When the request left the application (UTC, microseconds)',
    log_id String COMMENT 'Identity of the call: <trace id>-<span id>',
    user_id String COMMENT 'Whom the call was made for; empty when nobody said',
    department LowCardinality(String) COMMENT 'Department that pays; empty when nobody said',
    agent_id String COMMENT 'Agent or assistant that made the call; empty for none',
    tenant LowCardinality(String) COMMENT 'Organisation the call belongs to; empty where there is one only',
    source LowCardinality(String) COMMENT 'Name of the ingest key that delivered the call; empty without keys',
    service_name LowCardinality(String) COMMENT 'service.name of the emitting service',
    provider_name LowCardinality(String) COMMENT 'Provider: openai, anthropic, gcp.gemini, ...',
    endpoint_id LowCardinality(String) COMMENT 'Endpoint (provider host, gateway or contract) the call went to',
    model_name LowCardinality(String) COMMENT 'Model for reports and prices',
    service_tier LowCardinality(String) COMMENT 'Tier the provider served; empty: not stated',
    trace_id String COMMENT 'Trace id, 32 lower-case hex digits',
    span_id String COMMENT 'Span id, 16 lower-case hex digits',
    total_tokens Nullable(Int64) COMMENT 'input_tokens + output_tokens; NULL: unknown',
    doubt LowCardinality(String) COMMENT 'Price flag: deployment_unknown, tier_assumed, ...',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost of the call in USD, as booked; NULL: not priced',
    other_cost_usd Nullable(Decimal(18, 12)) COMMENT 'What the call costs if the doubt is decided the other way, in USD; NULL: nobody can tell',
    setting String COMMENT 'Line of models_pricing.yaml that decides it; what to fill in is in capitals; empty: no line can'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    d.start_time AS start_time,
    d.log_id AS log_id,
    d.user_id AS user_id,
    d.department AS department,
    d.agent_id AS agent_id,
    d.tenant AS tenant,
    d.source AS source,
    d.service_name AS service_name,
    d.provider_name AS provider_name,
    d.endpoint_id AS endpoint_id,
    d.model_name AS model_name,
    d.service_tier AS service_tier,
    d.trace_id AS trace_id,
    d.span_id AS span_id,
    d.total_tokens AS total_tokens,
    d.doubt AS doubt,
    d.cost_usd AS cost_usd,
    d.other_cost_usd AS other_cost_usd,
    d.setting AS setting
FROM {database}.call_doubts AS d
WHERE d.kind = 'price'
COMMENT 'One row a call and price flag, net: what is undecided, the money both ways, the line that decides it';
