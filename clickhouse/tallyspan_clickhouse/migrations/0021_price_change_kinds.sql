-- A third kind of run: what is left of price changes of calls that were taken back.
ALTER TABLE {database}.price_changes {on_cluster}
    COMMENT COLUMN kind 'reprice (a person asked for it), backfill (a price for unpriced calls arrived) or remainder (calls were taken back after a price change, and what it left is booked away)';
