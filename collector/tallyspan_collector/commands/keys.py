"""`tallyspan keys add|list|revoke`: keys for senders of calls and readers of costs."""

import argparse
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tallyspan_collector import config
from tallyspan_collector.access import keys
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Add the parser of `tallyspan keys`."""
    parser = commands.add_parser("keys")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    add = actions.add_parser("add", help="make a key; it is shown once")
    config.add_flags(add, config.READ_OPTIONS)
    add.add_argument(
        "name",
        help="what people call it: the service or person that has it; of a chat key that of the"
        " ingest key whose users it speaks for",
    )
    add.add_argument("--role", choices=tuple(keys.PREFIXES), required=True)
    add.add_argument("--department", default="", help="of calls sent with it that name none")
    add.add_argument(
        "--tenant",
        default="",
        help="of calls sent with it; all that an admin key may see; that of a chat's ingest key",
    )
    add.add_argument(
        "--departments", default="", help="comma-separated: all that an admin key may see"
    )
    add.add_argument("--rate-limit", type=int, default=0, help="requests a second, 0 for no limit")
    add.add_argument("--expires", default="", help="a duration: 12h, 30d")
    add.set_defaults(run=_add)

    listing = actions.add_parser("list", help="all keys, without what they are")
    config.add_flags(listing, config.READ_OPTIONS)
    listing.set_defaults(run=_list)

    revoke = actions.add_parser("revoke", help="let a key count no more, within seconds")
    config.add_flags(revoke, config.READ_OPTIONS)
    revoke.add_argument("id", help="as `keys list` shows it")
    revoke.set_defaults(run=_revoke)


def _add(options: argparse.Namespace) -> int:
    if options.rate_limit < 0:
        raise ConfigError(f"--rate-limit {options.rate_limit}: must be 0 or more")
    expires = 0
    if options.expires:
        try:
            expires = int(time.time()) + config.duration(options.expires)
        except ValueError as error:
            raise ConfigError(f"--expires {options.expires!r}: {error}") from None
    key, token = keys.make(
        options.role,
        options.name,
        department=options.department,
        tenant=options.tenant,
        departments=tuple(name.strip() for name in options.departments.split(",") if name.strip()),
        rate_limit=options.rate_limit,
        expires_s=expires,
    )
    with writing(options) as client:
        if key.role == "chat" and not _has_sender(key, keys.stored(client)):
            sys.stderr.write(
                f"warning: no ingest key has the name {key.name!r} and the tenant {key.tenant!r}:"
                " this key answers nothing until there is one, for it is for its users\n"
            )
        keys.store(client, key)
    sys.stderr.write(f"key {key.id} ({key.role}, {key.name}); it is not shown again:\n")
    sys.stdout.write(token + "\n")
    return 0


def _has_sender(key: keys.Key, stored: Iterable[keys.Key]) -> bool:
    """Return whether there is an ingest key whose users the chat key speaks for."""
    if (key.name, key.tenant) == (keys.ENVIRONMENT["TALLYSPAN_INGEST_KEY"], ""):
        return True
    return any(
        (each.role, each.source, each.tenant) == ("ingest", key.source, key.tenant)
        for each in stored
    )


def _list(options: argparse.Namespace) -> int:
    now = time.time()
    with writing(options) as client:
        rows = [
            {
                "id": key.id,
                "role": key.role,
                "name": key.name,
                "department": key.department,
                "tenant": key.tenant,
                "sees": ", ".join(key.departments),
                "state": _state(key, now),
            }
            for key in keys.stored(client)
        ]
    write_table(rows, sys.stdout)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    with writing(options) as client:
        key = keys.revoke(client, options.id)
    sys.stderr.write(
        f"key {key.id} ({key.name}) is revoked; collectors know within {keys.READ_SECONDS} s\n"
    )
    return 0


def _state(key: keys.Key, now: float) -> str:
    if key.revoked_s:
        return f"revoked {_day(key.revoked_s)}"
    if not key.expires_s:
        return "valid"
    return f"{'valid until' if key.is_valid(now) else 'expired'} {_day(key.expires_s)}"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
