"""Which other collectors write to a store: each says something of itself once a minute."""

import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import utc

_OTHERS = """
SELECT toString(collector), max(at),
    maxIf(at, name = 'tallyspan_collector_stopped') < max(at)
        AND max(at) > now() - INTERVAL {alive:UInt32} SECOND
FROM collector_metrics
WHERE at > now() - INTERVAL {seconds:UInt32} SECOND AND collector != {name:String}
GROUP BY collector
"""
ALIVE = timedelta(minutes=3)
"""One that was silent for longer does not run any more."""


class Other(NamedTuple):
    """Another collector, when it last said something of itself (UTC), and whether it runs."""

    name: str
    last_seen: datetime
    is_alive: bool


def name_of(data_dir: Path) -> str:
    """Return the name of the collector of a data folder: host and folder."""
    return f"{socket.gethostname()}:{data_dir.resolve()}"


def others(client: Client, name: str, within: timedelta) -> list[Other]:
    """Return the collectors that wrote to the store within a time, without the one of that name.

    Sorted by name. Raises what the store raises.
    """
    parameters = {"name": name, "seconds": round(within.total_seconds()), "alive": ALIVE.seconds}
    rows = tuples_of(client, _OTHERS, parameters)
    return sorted(Other(str(other), utc(seen), bool(is_alive)) for other, seen, is_alive in rows)
