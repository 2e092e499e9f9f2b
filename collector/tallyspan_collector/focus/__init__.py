"""The ledger as datasets of FOCUS, the FinOps Open Cost and Usage Specification (docs/focus.md)."""
