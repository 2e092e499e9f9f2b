"""OTLP receivers: a request is acknowledged after all that can become a call is on disk."""
