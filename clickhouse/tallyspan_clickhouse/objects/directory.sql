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
