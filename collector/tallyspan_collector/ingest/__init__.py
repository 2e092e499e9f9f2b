"""From bytes to the ledger: admitted, spooled (then acknowledged), decoded, priced, inserted."""
