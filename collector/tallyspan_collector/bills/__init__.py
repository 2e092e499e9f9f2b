"""What providers report as used and billed, in the convention of the ledger."""
