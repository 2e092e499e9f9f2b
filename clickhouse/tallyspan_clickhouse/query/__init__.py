"""What is asked of the store: one builder for API, report, budgets, console and Grafana.

Whose rows somebody may see is written here and nowhere else (`access.py`); whatever a person typed
reaches ClickHouse as a bound parameter.
"""
