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
