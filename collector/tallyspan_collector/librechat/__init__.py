"""LibreChat's own ledger in MongoDB: read, joined with recorded calls, booked, compared."""
