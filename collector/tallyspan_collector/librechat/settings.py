"""An import of LibreChat's ledger as it is written down: by flags, or in the section `imports`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallyspan_collector.bills.entry_values import secret
from tallyspan_collector.booked.imports import EVERY_SECONDS, LOOK_BACK_DAYS, label_of
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.transactions import Half

SOURCE = "librechat"
"""Its name in `imports:`, and in the ledger where no other one is given."""
URI_VARIABLE = "LIBRECHAT_MONGO_URI"
NAMES, DEPARTMENT = "names", "department"
PEOPLE = ("", NAMES, DEPARTMENT)
"""What the directory gets: nothing, names of users, or groups as their departments too."""
ID = "_id"
USER_FIELDS = (ID, "email", "username")
WAIT_SECONDS = 600
"""A turn's spans may come so long after its documents."""


@dataclass(frozen=True, slots=True)
class LedgerImport:
    """An import of LibreChat's ledger: which one, as whose, how often.

    The URI of its database is in `uri`, in the file `uri_file` or in the variable `uri_variable`.
    `tenant` is whose all of it is; None: as the documents say (`tenantId`). `names` says what our
    ledger calls a tenant or user of theirs, `sources` are the ingest keys whose calls count as
    spans of it; none: all. `user_field` is what spans call users by
    (LibreChat's `userIdField`). `people` is what its users and groups change in the directory: one
    of `PEOPLE`. A turn waits `wait_seconds` for its spans.
    """

    name: str = SOURCE
    uri: str = ""
    uri_variable: str = URI_VARIABLE
    uri_file: Path | None = None
    database: str = ""
    tenant: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    user_field: str = ID
    people: str = ""
    wait_seconds: int = WAIT_SECONDS
    every_seconds: int = EVERY_SECONDS
    look_back_days: int = LOOK_BACK_DAYS

    @property
    def label(self) -> str:
        """Return the column `source` of its calls."""
        return label_of(self.name)

    def counts(self, source: str) -> bool:
        """Whether a call of that source is one that a span tells of."""
        return source != self.label and (not self.sources or source in self.sources)

    def tenant_of(self, half: Half) -> str:
        """Return whose a call is in our ledger."""
        return self.tenant_named(half.tenant)

    def tenant_named(self, tenant: str) -> str:
        """Return what our ledger calls a tenant of theirs."""
        return self.names.get(tenant, tenant) if self.tenant is None else self.tenant

    def user_of(self, half: Half) -> str:
        """Return who a call was for, as our ledger calls them."""
        return self.user_named(half.user)

    def user_named(self, user: str) -> str:
        """Return what our ledger calls a user of theirs."""
        return self.names.get(user, user)

    def name_of(self, user: Mapping[str, Any]) -> str:
        """Return what spans call a user of the collection `users`."""
        value = user.get(self.user_field)
        return value if isinstance(value, str) and value else str(user[ID])


def uri_of(what: LedgerImport) -> str:
    """Return the URI of the database. Raises `ConfigError`; the URI is in no message."""
    if what.uri:
        return what.uri
    needed = (
        "no URI of LibreChat's database, such as mongodb://tallyspan:PASSWORD@mongo:27017/LibreChat"
    )
    try:
        uri, _ = secret(what.uri_file, what.uri_variable, needed)
    except ConfigError as error:
        raise ConfigError(f"import {what.name}: {error}") from None
    return uri
