"""The admin's way to the ledger over HTTP; see docs/api.md."""

from tallyspan_collector.api.app import create_app
from tallyspan_collector.api.keys import AdminKeys

__all__ = ["AdminKeys", "create_app"]
