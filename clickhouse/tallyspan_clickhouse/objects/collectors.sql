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
