"""All SQL of the dashboards, a file a page; a query is a function of a `Binding`.

The binding writes views, range and what the reader chose: for Grafana as macros and variables, for
the console as bound parameters. Only the reporting views are read.

A variable's value is a key, its label the name: names come by telemetry, so a quote in one must
never reach the SQL text. The key is `k` and the hexadecimal form of the name: it holds no quote,
and turned back into the name it still finds its rows by the index. No alias is the name of a
column: ClickHouse would put the alias into the WHERE.
"""
