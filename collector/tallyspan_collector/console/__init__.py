"""The console: the dashboards of `grafana/dashboards/` drawn without Grafana.

The browser names a panel, a range and choices; the SQL is the panel's own, and what the reader
chose reaches ClickHouse as bound parameters.
"""
