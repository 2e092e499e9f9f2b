-- A condition on start_time is looked up as the fifth column of the key and not as the hour that is
-- the second: without this index a query for a day reads its whole month.
ALTER TABLE {database}.llm_calls {on_cluster}
    ADD INDEX IF NOT EXISTS ix_time start_time TYPE minmax GRANULARITY 1;

ALTER TABLE {database}.llm_calls {on_cluster} MATERIALIZE INDEX ix_time;
