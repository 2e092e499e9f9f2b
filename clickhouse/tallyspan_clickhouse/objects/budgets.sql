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
