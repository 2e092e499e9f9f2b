-- What an organisation decides once. Written by `tallyspan settings`; the newest version counts.
CREATE TABLE {database}.organisation_settings {on_cluster}
(
    name LowCardinality(String) COMMENT 'Setting',
    value String COMMENT 'Its value',
    meaning String COMMENT 'What it decides',
    changed_by String COMMENT 'Account and host that wrote this version; empty: as delivered',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version; 0: as delivered'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY name
COMMENT 'Settings of the organisation; edited by tallyspan settings';

INSERT INTO {database}.organisation_settings (name, value, meaning, version) VALUES
    ('time_zone', 'UTC', 'IANA name of the time zone whose days, months, quarters and years budgets, forecasts and comparisons with earlier periods are of', 0);

CREATE VIEW {database}.settings {on_cluster}
(
    name LowCardinality(String) COMMENT 'Setting',
    value String COMMENT 'Its value',
    meaning String COMMENT 'What it decides'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT s.name, s.value, s.meaning FROM {database}.organisation_settings AS s FINAL
COMMENT 'Settings of the organisation as they hold now';

-- The one place that says what day it is. The zone is no constant, so it reaches functions of time
-- through toTimeZone: the others refuse what is unknown when a view is created.
CREATE VIEW {database}.clock {on_cluster}
(
    now DateTime('UTC') COMMENT 'This moment (UTC)',
    time_zone String COMMENT 'IANA name of the time zone of the organisation',
    today Date COMMENT 'Day it is in that zone',
    day_gone Float64 COMMENT 'Part of that day that is over, a ratio'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH
    ifNull(nullIf((SELECT any(s.value) FROM {database}.organisation_settings AS s FINAL WHERE s.name = 'time_zone'), ''), 'UTC') AS zone,
    toTimeZone(now('UTC'), zone) AS local,
    toStartOfDay(local) AS midnight
SELECT now('UTC') AS now, zone AS time_zone, toDate(local) AS today,
    dateDiff('second', midnight, local) / dateDiff('second', midnight, toStartOfDay(addDays(local, 1))) AS day_gone
COMMENT 'One row: what time it is for budgets, forecasts and comparisons';
