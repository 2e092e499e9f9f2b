-- One call in 400 was found to be a duplicate, and one in 200 got another price a day later.
INSERT INTO {database}.llm_calls
SELECT * REPLACE (
    'reversal' AS entry_kind, -1 AS sign,
    -input_tokens AS input_tokens, -output_tokens AS output_tokens,
    -cache_read_tokens AS cache_read_tokens, -cache_write_tokens AS cache_write_tokens,
    -reasoning_tokens AS reasoning_tokens, -cost_usd AS cost_usd,
    -input_cost_usd AS input_cost_usd, -output_cost_usd AS output_cost_usd,
    -unpriced_calls AS unpriced_calls, -unpriced_tokens AS unpriced_tokens,
    ingested_at + toIntervalHour(1) AS ingested_at)
FROM (SELECT * FROM {database}.llm_calls
    WHERE entry_kind = 'call' AND cityHash64(span_id) % 400 = 0)
SETTINGS async_insert = 0, max_threads = 2, min_insert_block_size_rows = 100000;

INSERT INTO {database}.llm_calls
SELECT * REPLACE (
    'price_change' AS entry_kind, 0 AS sign,
    NULL AS input_tokens, NULL AS output_tokens, NULL AS cache_read_tokens,
    NULL AS cache_write_tokens, NULL AS reasoning_tokens,
    CAST(cost_usd / 10, 'Nullable(Decimal(18, 12))') AS cost_usd,
    NULL AS input_cost_usd, NULL AS output_cost_usd,
    0 AS unpriced_calls, 0 AS unpriced_tokens, concat(price_id, '-b') AS price_id,
    ingested_at + toIntervalDay(1) AS ingested_at)
FROM (SELECT * FROM {database}.llm_calls
    WHERE entry_kind = 'call' AND cost_status = 'priced' AND cityHash64(span_id) % 400 IN (1, 2))
SETTINGS async_insert = 0, max_threads = 2, min_insert_block_size_rows = 100000
