"""The console: the pages of `grafana/tallyspan_grafana/` drawn without Grafana.

`pages.json` is written by that generator, SQL included. The browser names a panel, a range and
choices, which reach ClickHouse as bound parameters.
"""
