"""OTLP in: bytes are acknowledged once their calls are in the ledger, never before."""
