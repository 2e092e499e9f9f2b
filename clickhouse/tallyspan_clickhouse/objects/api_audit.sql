-- Who asked the admin API for what. Written in batches; no key and no token is in it.
CREATE TABLE {database}.api_audit {on_cluster}
(
    at DateTime64(3, 'UTC') COMMENT 'When the request came (UTC)',
    id UInt64 CODEC(ZSTD(1)) COMMENT 'Tells requests of the same millisecond apart',
    key_id String COMMENT 'Public id of the key, or oidc:<subject>; empty: none that is valid',
    key_name String COMMENT 'Name of the key, or what the identity provider calls the person',
    role LowCardinality(String) COMMENT 'admin or app; empty: refused before there was one',
    client String COMMENT 'Address the request came from',
    method LowCardinality(String) COMMENT 'HTTP method',
    path String COMMENT 'Path of the request, cut at 500 characters, what looks like a key blacked out',
    query String COMMENT 'Query string as sent, cut at 2000 characters, what looks like a key blacked out',
    status UInt16 COMMENT 'HTTP status of the answer',
    rows UInt32 COMMENT 'Rows of the answer',
    duration_ms UInt32 COMMENT 'From the request to the end of the answer, in milliseconds'
)
ENGINE = {replicated}MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (at, id)
TTL toDateTime(at) + INTERVAL 400 DAY
COMMENT 'Audit of the admin API: who asked what, when, and how it was answered; kept for 400 days';
