-- What may be spent, and when somebody is told. Written by `tallyspan budgets`; the newest version of
-- a row counts.
CREATE TABLE {database}.budgets {on_cluster}
(
    scope LowCardinality(String) COMMENT 'What it limits: total, department, user, agent, model or endpoint',
    name String COMMENT 'Which one of them, as the calls name it; empty for total',
    period LowCardinality(String) COMMENT 'How long the amount has to last: month, quarter or year, of UTC days',
    valid_from Date COMMENT 'First UTC day it holds; a later one of the same scope, name and period takes over',
    valid_to Date DEFAULT toDate('2149-06-06') COMMENT 'First UTC day it holds no more; 2149-06-06: no end',
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

-- Spend of what has a budget, by UTC day. Every part is empty while no budget asks for it.
CREATE VIEW {database}.budgeted_days {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model or endpoint',
    name String COMMENT 'Which one of them; empty for total',
    department String COMMENT 'The department, for a budget of one; else empty',
    day Date COMMENT 'Day (UTC)',
    spent_usd Nullable(Decimal(38, 12)) COMMENT 'Billed cost of its calls, in USD; NULL: none is priced',
    unpriced_calls Int64 COMMENT 'Calls without a price; they are missing in spent_usd'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT t.scope AS scope, t.name AS name, if(t.scope = 'department', t.name, '') AS department, t.day AS day,
    sum(t.cost_usd) AS spent_usd, sum(t.unpriced_calls) AS unpriced_calls
FROM (
    SELECT u.day AS day, u.cost_usd AS cost_usd, u.unpriced_calls AS unpriced_calls, part.1 AS scope, part.2 AS name
    FROM {database}.usage_totals AS u
    ARRAY JOIN [('total', ''), ('department', u.department), ('model', u.model_name), ('endpoint', u.endpoint_id)] AS part
    WHERE u.day >= toDate(now('UTC'), 'UTC') - 800
        AND (SELECT count() > 0 FROM {database}.budgets AS b WHERE b.scope IN ('total', 'department', 'model', 'endpoint'))
) AS t
WHERE (t.scope, t.name) IN (SELECT b.scope, b.name FROM {database}.budgets AS b)
GROUP BY t.scope, t.name, t.day
UNION ALL
SELECT 'user' AS scope, u.user_id AS name, '' AS department, u.day AS day, sum(u.cost_usd) AS spent_usd, sum(u.unpriced_calls) AS unpriced_calls
FROM {database}.usage_by_user AS u
WHERE u.day >= toDate(now('UTC'), 'UTC') - 800 AND u.user_id IN (SELECT b.name FROM {database}.budgets AS b WHERE b.scope = 'user')
GROUP BY u.user_id, u.day
UNION ALL
SELECT 'agent' AS scope, u.agent_id AS name, '' AS department, u.day AS day, sum(u.cost_usd) AS spent_usd, sum(u.unpriced_calls) AS unpriced_calls
FROM {database}.usage_by_agent AS u
WHERE u.day >= toDate(now('UTC'), 'UTC') - 800 AND u.agent_id IN (SELECT b.name FROM {database}.budgets AS b WHERE b.scope = 'agent')
GROUP BY u.agent_id, u.day
COMMENT 'Spend of everything that has a budget, by UTC day, of the last 800 days';

-- The budget that counts for a period is the one that holds on its last day; for the running period,
-- the one that holds today. What was spent is read once, also for `budget_status`.
CREATE VIEW {database}.budget_periods {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model or endpoint',
    name String COMMENT 'Which one of them; empty for total',
    department String COMMENT 'The department, for a budget of one; else empty',
    period LowCardinality(String) COMMENT 'month, quarter or year',
    period_start Date COMMENT 'First UTC day of the period',
    period_end Date COMMENT 'First UTC day after it',
    is_current Bool COMMENT 'Whether today (UTC) is in it',
    amount_usd Decimal(18, 6) COMMENT 'What may be spent in it, in USD',
    warn_percent UInt16 COMMENT 'Percent of the amount from which it is nearly used up',
    critical_percent UInt16 COMMENT 'Percent of the amount from which it is exceeded',
    owner String COMMENT 'Who answers for it',
    spent_usd Decimal(38, 12) COMMENT 'What was spent in it, in USD; calls without a price are not in it',
    used Float64 COMMENT 'spent_usd / amount_usd, a ratio',
    unpriced_calls Int64 COMMENT 'Calls in it without a price',
    recent Array(Tuple(UInt16, Float64)) COMMENT 'The last four weeks: days since 1970, each with what was spent on it in USD'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    toDate(now('UTC'), 'UTC') AS today,
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
            arrayJoin(multiIf(
                held.period = 'month', arrayMap(i -> addMonths(toStartOfMonth(today), -i), range(13)),
                held.period = 'quarter', arrayMap(i -> addMonths(toStartOfQuarter(today), -3 * i), range(5)),
                arrayMap(i -> addYears(toStartOfYear(today), -i), range(2)))) AS period_start,
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
        SELECT m.scope, m.name, groupArray((m.month, ifNull(m.spent, toDecimal128(0, 12)), m.unpriced)) AS months,
            arrayFlatten(groupArray(m.days)) AS recent
        FROM months AS m GROUP BY m.scope, m.name
    )
SELECT p.scope AS scope, p.name AS name, if(p.scope = 'department', p.name, '') AS department, p.period AS period,
    p.period_start AS period_start, p.period_end AS period_end, p.period_end > today AS is_current,
    p.amount_usd AS amount_usd, p.warn_percent AS warn_percent, p.critical_percent AS critical_percent, p.owner AS owner,
    arraySum(m -> m.2, of_period) AS spent_usd,
    toFloat64(spent_usd) / toFloat64(p.amount_usd) AS used,
    arraySum(m -> m.3, of_period) AS unpriced_calls,
    s.recent AS recent
FROM periods AS p LEFT JOIN sums AS s ON p.scope = s.scope AND p.name = s.name
COMMENT 'Every budget and its periods: 13 months, 5 quarters, 2 years, the running one included';

-- Forecast: what is spent, and for each whole day to come the mean of its weekday in the last 28 days.
CREATE VIEW {database}.budget_status {on_cluster}
(
    scope LowCardinality(String) COMMENT 'total, department, user, agent, model or endpoint',
    name String COMMENT 'Which one of them; empty for total',
    department String COMMENT 'The department, for a budget of one; else empty',
    period LowCardinality(String) COMMENT 'month, quarter or year',
    period_start Date COMMENT 'First UTC day of the running period',
    period_end Date COMMENT 'First UTC day after it',
    days_left UInt16 COMMENT 'Whole UTC days to come in it, today not counted',
    amount_usd Decimal(18, 6) COMMENT 'What may be spent in it, in USD',
    warn_percent UInt16 COMMENT 'Percent of the amount from which it is nearly used up',
    critical_percent UInt16 COMMENT 'Percent of the amount from which it is exceeded',
    owner String COMMENT 'Who answers for it',
    spent_usd Decimal(38, 12) COMMENT 'What was spent in it so far, in USD; calls without a price are not in it',
    left_usd Decimal(38, 12) COMMENT 'amount_usd - spent_usd, in USD; below 0: overspent',
    used Float64 COMMENT 'spent_usd / amount_usd, a ratio',
    unpriced_calls Int64 COMMENT 'Calls in it without a price',
    forecast_usd Nullable(Decimal(38, 6)) COMMENT 'Spend of the whole period by weekday means of the last 28 days, in USD; NULL: fewer than 3 days known',
    forecast_low_usd Nullable(Decimal(38, 6)) COMMENT 'Lower end of the forecast: 9 of 10 periods end above it if days go on to scatter as they did, in USD',
    forecast_high_usd Nullable(Decimal(38, 6)) COMMENT 'Upper end of the forecast: 9 of 10 periods end below it, in USD',
    forecast_used Nullable(Float64) COMMENT 'forecast_usd / amount_usd, a ratio',
    used_up_on Nullable(Date) COMMENT 'UTC day on which the amount is used up by the forecast; NULL: not in this period, or it is already',
    state LowCardinality(String) COMMENT 'over (at critical_percent), warning (at warn_percent), forecast over (the forecast is above the amount) or ok'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH toDate(now('UTC'), 'UTC') AS today
SELECT
    p.scope AS scope, p.name AS name, p.department AS department, p.period AS period,
    p.period_start AS period_start, p.period_end AS period_end,
    toUInt16(p.period_end - 1 - today) AS days_left,
    p.amount_usd AS amount_usd, p.warn_percent AS warn_percent, p.critical_percent AS critical_percent,
    p.owner AS owner, p.spent_usd AS spent_usd, p.amount_usd - p.spent_usd AS left_usd, p.used AS used,
    p.unpriced_calls AS unpriced_calls,
    if(days_known < 3, NULL, toDecimal128(toFloat64(p.spent_usd) + arraySum(to_come), 6)) AS forecast_usd,
    if(days_known < 3, NULL, toDecimal128(toFloat64(p.spent_usd) + greatest(0, arraySum(to_come) - band), 6)) AS forecast_low_usd,
    if(days_known < 3, NULL, toDecimal128(toFloat64(p.spent_usd) + arraySum(to_come) + band, 6)) AS forecast_high_usd,
    if(days_known < 3, NULL, (toFloat64(p.spent_usd) + arraySum(to_come)) / toFloat64(p.amount_usd)) AS forecast_used,
    if(days_known < 3 OR p.spent_usd >= p.amount_usd OR forecast_used <= 1, NULL,
        today + arrayFirstIndex(c -> toFloat64(p.spent_usd) + c >= toFloat64(p.amount_usd), arrayCumSum(to_come))) AS used_up_on,
    multiIf(p.used * 100 >= p.critical_percent, 'over', p.used * 100 >= p.warn_percent, 'warning',
        ifNull(forecast_used > 1, false), 'forecast over', 'ok') AS state
FROM (
    SELECT b.*,
        mapFromArrays(b.recent.1, b.recent.2) AS spent_on,
        if(empty(b.recent), 0, toUInt16(least(28, today - toDate(arrayMin(b.recent.1))))) AS days_known,
        arrayMap(i -> spent_on[toUInt16(today - i)], range(1, days_known + 1)) AS past,
        arrayMap(w -> if(days_known < 7, arraySum(past) / greatest(days_known, 1),
            arrayAvg(arrayFilter((a, i) -> toDayOfWeek(today - i) = w, past, range(1, days_known + 1)))), range(1, 8)) AS means,
        arrayMap(d -> means[toDayOfWeek(today + d)], range(1, toUInt16(b.period_end - today))) AS to_come,
        -- 1.2816 standard deviations leave a tenth on either side.
        1.2816 * sqrt(length(to_come) * arraySum(arrayMap((a, i) -> pow(a - means[toDayOfWeek(today - i)], 2), past, range(1, days_known + 1)))
            / greatest(days_known - if(days_known < 7, 1, 7), 1)) AS band
    FROM {database}.budget_periods AS b
    WHERE b.is_current
) AS p
COMMENT 'Every budget that holds today: spent, left, forecast, state';
