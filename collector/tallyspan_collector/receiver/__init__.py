"""OTLP in: bytes are acknowledged once what can become a call is on disk, never before."""
