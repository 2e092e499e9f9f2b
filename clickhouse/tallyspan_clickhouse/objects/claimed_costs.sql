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
