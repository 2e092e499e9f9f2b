"""The console: the dashboards of `grafana/dashboards/` drawn without Grafana.

The browser sends a panel, a range and values; the SQL is the panel's own, and the values are bound
parameters of it.
"""
