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
