"""The dataset of FOCUS 1.2: a row for a day, a model, a user and a kind of charge, of the rollups.

The rules are in tests/collector/focus/test_version_1_2.py. A cost may not be null, so calls without
a price and their tokens are in no row. Tokens are what is priced, requests where nobody counted
tokens; our price is list, contract and bill in one, and a row has no unit price: it has prompts
and answers of one model, whose prices differ. What of commitments, seats and minimums is of no
call is a purchase of the day; what a provider reports and no span tells of is usage, a day of it
where the report counts no tokens; true-ups and corrections of closed months are adjustments.
"""

CALLS, PURCHASE, IMPORTED, ADJUSTMENT = "calls", "purchase", "imported", "adjustment"
CHARGES = f"""
SELECT * EXCEPT (tokens) FROM (SELECT
    if(charge.1 = '{CALLS}' OR calls = 0, used, 0) AS tokens,
    charge.2 AS BilledCost,
    if(tenant = '', 'default', toString(tenant)) AS BillingAccountId,
    NULL AS BillingAccountName,
    'USD' AS BillingCurrency,
    formatDateTime(addMonths(toStartOfMonth(day), 1), '%Y-%m-%dT00:00:00Z') AS BillingPeriodEnd,
    formatDateTime(toStartOfMonth(day), '%Y-%m-%dT00:00:00Z') AS BillingPeriodStart,
    multiIf(charge.1 = '{PURCHASE}', 'Purchase', charge.1 = '{ADJUSTMENT}', 'Adjustment', 'Usage')
        AS ChargeCategory,
    NULL AS ChargeClass,
    multiIf(charge.1 = '{PURCHASE}', 'Commitments, plans and minimums',
        charge.1 = '{ADJUSTMENT}', concat('True-ups and corrections of closed months: ', SkuId),
        charge.1 = '{IMPORTED}', concat('Use that no span tells of: ', SkuId),
        concat('Calls of ', SkuId)) AS ChargeDescription,
    multiIf(charge.1 = '{PURCHASE}', 'Recurring', charge.1 = '{ADJUSTMENT}', 'One-Time',
        'Usage-Based') AS ChargeFrequency,
    formatDateTime(day + 1, '%Y-%m-%dT00:00:00Z') AS ChargePeriodEnd,
    formatDateTime(day, '%Y-%m-%dT00:00:00Z') AS ChargePeriodStart,
    if(ChargeCategory = 'Usage', PricingQuantity, NULL) AS ConsumedQuantity,
    if(ChargeCategory = 'Usage', PricingUnit, NULL) AS ConsumedUnit,
    BilledCost AS ContractedCost,
    BilledCost AS EffectiveCost,
    ProviderName AS InvoiceIssuerName,
    BilledCost AS ListCost,
    multiIf(charge.1 = '{PURCHASE}', 'Committed', charge.1 = '{ADJUSTMENT}', NULL, 'Standard')
        AS PricingCategory,
    multiIf(charge.1 = '{ADJUSTMENT}', NULL, charge.1 = '{PURCHASE}', 1, tokens > 0, tokens,
        charge.1 = '{IMPORTED}', 1, calls) AS PricingQuantity,
    multiIf(charge.1 = '{ADJUSTMENT}', NULL, charge.1 = '{PURCHASE}', 'Days', tokens > 0, 'Tokens',
        charge.1 = '{IMPORTED}', 'Days', 'Requests') AS PricingUnit,
    if(provider_name = '', 'unknown', toString(provider_name)) AS ProviderName,
    ProviderName AS PublisherName,
    nullIf(toString(endpoint_id), '') AS ResourceId,
    NULL AS ResourceName,
    if(ResourceId IS NULL, NULL, 'Endpoint') AS ResourceType,
    'AI and Machine Learning' AS ServiceCategory,
    ProviderName AS ServiceName,
    'Generative AI' AS ServiceSubcategory,
    if(model_name = '', 'unknown', toString(model_name)) AS SkuId,
    nullIf(toString(department), '') AS SubAccountId,
    SubAccountId AS SubAccountName,
    toJSONString(mapFilter((name, value) -> value != '',
        map('user_id', user_id, 'service_name', toString(service_name)))) AS Tags
FROM (SELECT u.tenant AS tenant, u.day AS day, u.model_name AS model_name, u.user_id AS user_id,
        u.department AS department, u.provider_name AS provider_name, u.endpoint_id AS endpoint_id,
        u.service_name AS service_name, sum(u.calls) - sum(u.unpriced_calls) AS calls,
        ifNull(sum(u.total_tokens), 0) - sum(u.unpriced_tokens) AS used,
        sum(u.commitment_cost_usd) + sum(u.plan_cost_usd) + sum(u.unused_cost_usd) AS bought,
        sum(u.imported_cost_usd) AS imported,
        sum(u.true_up_cost_usd) + sum(u.prior_period_cost_usd) AS adjusted,
        ifNull(sum(u.cost_usd), 0) - bought - imported - adjusted AS of_calls
    FROM usage_daily AS u
    WHERE u.day >= toDate(fromUnixTimestamp64Micro({{first}}), 'UTC')
        AND u.day < toDate(fromUnixTimestamp64Micro({{stop}}), 'UTC')
    GROUP BY ALL)
ARRAY JOIN arrayFilter(x -> x.2 != 0 OR (x.1 = '{CALLS}' AND calls > 0),
    [('{CALLS}', of_calls), ('{PURCHASE}', bought), ('{IMPORTED}', imported),
        ('{ADJUSTMENT}', adjusted)]) AS charge
ORDER BY day, model_name, user_id, department, endpoint_id, service_name, charge.1)
"""  # noqa: S608  own names; the ends of the period are whole numbers
