"""From OTLP bytes to spans and log records, and the Call they become."""
