"""Changes of calls that are in the ledger. Each kind is a file; `run` carries it out."""
