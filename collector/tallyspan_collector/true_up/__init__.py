"""The ledger made equal to the bill: what a bill has and the ledger has not becomes entries."""
