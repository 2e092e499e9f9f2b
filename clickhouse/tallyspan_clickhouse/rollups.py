"""Rollups follow the ledger by themselves; after a crash they are compared and put right."""

from clickhouse_connect.driver.client import Client


def repair(client: Client, batch_id: int) -> None:
    """Make the rollups of the hours that a batch touched equal to the ledger."""
