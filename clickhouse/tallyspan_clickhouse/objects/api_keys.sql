-- Keys of collectors: digests only. The newest version of an id counts.
CREATE TABLE {database}.api_keys {on_cluster}
(
    id String COMMENT 'Public name of the key, 8 hex digits',
    role LowCardinality(String) COMMENT 'ingest (sends calls), admin (reads costs), app (reads the cost of a conversation) or chat (asks over MCP for users)',
    name String COMMENT 'What people call it: a service, a person',
    digest String COMMENT 'SHA-256 of the key, hex; the key itself is kept nowhere',
    department String COMMENT 'Department of calls sent with it that name none; empty: none',
    tenant String COMMENT 'Tenant of calls sent with it',
    departments Array(String) COMMENT 'Departments an admin key may see; empty: all',
    rate_limit UInt32 COMMENT 'Requests a second it may make; 0: no limit',
    expires_s Int64 COMMENT 'When it ends, seconds since 1970; 0: never',
    revoked_s Int64 COMMENT 'When it was revoked, seconds since 1970; 0: it was not',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this version was written (UTC)',
    version UInt64 COMMENT 'Nanoseconds since 1970 of this version'
)
ENGINE = {replicated}ReplacingMergeTree({everywhere}version)
ORDER BY id
COMMENT 'Keys of collectors and admins, as digests';
