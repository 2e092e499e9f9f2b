"""The resources of the store that one query of the API may use."""

from clickhouse_connect.driver.client import Client

SETTINGS = {
    "max_memory_usage": "2000000000",
    "max_bytes_before_external_group_by": "1000000000",
    "max_threads": "4",
    # Queries of readers must not take the cores from the inserts.
    "priority": "1",
}


def with_settings(client: Client) -> Client:
    """Return the client, whose queries have the settings from now on; time-outs are theirs."""
    for name, value in SETTINGS.items():
        client.set_client_setting(name, value)
    return client
