"""The store: a client for any ClickHouse, one to run locally, and the schema both have."""
