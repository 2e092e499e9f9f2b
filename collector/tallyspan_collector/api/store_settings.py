"""What one question may take of the store, whatever is asked."""

from clickhouse_connect.driver.client import Client

LIMITS = {
    "max_memory_usage": "2000000000",
    "max_bytes_before_external_group_by": "1000000000",
    "max_threads": "4",
    # A report must not take the cores from what is being loaded.
    "priority": "1",
}


def limit(client: Client) -> Client:
    """Return the client, whose queries are limited from now on; time-outs are set by query."""
    for name, value in LIMITS.items():
        client.set_client_setting(name, value)
    return client
