"""The ledger over HTTP; see docs/api.md."""

from tallyspan_collector.api.app import create_app

__all__ = ["create_app"]
