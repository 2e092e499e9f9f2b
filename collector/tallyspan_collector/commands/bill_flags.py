"""The flags that say which bill: whose, where it is read, which calls it is about."""

import argparse
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallyspan_collector import config
from tallyspan_collector.bills import bill_file
from tallyspan_collector.bills.pages import check_base
from tallyspan_collector.commands.price_book import PRICES
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.reconcile import recorded
from tallyspan_collector.reconcile.bill import FILE, PROVIDERS, Bill
from tallyspan_collector.reconcile.settings import (
    SPLITS,
    Reconciliation,
    of_section,
    splits_of,
)

NAMES = f"{', '.join(PROVIDERS)}; or the name of a reconciliation in the --config file"
"""What `provider` may be."""
_OF_BILL = (
    "file", "key_file", "url", "column", "by", "recorded_as", "name", "model", "ledger_provider",
    "endpoint",
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """Add them, and those of the store; `provider` is an argument of the parser itself."""
    config.add_flags(parser, (*config.READ_OPTIONS, PRICES))
    parser.add_argument(
        "--file",
        help="the bill, or bills with *; without it the provider's usage and cost APIs are asked",
    )
    parser.add_argument(
        "--key-file",
        help="file with an admin key; default: the provider's variable, such as OPENAI_ADMIN_KEY",
    )
    parser.add_argument("--url", help="another address of the API, such as a proxy of your own")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help=f"a column of the file; OURS is one of {', '.join(bill_file.COLUMNS)}",
    )
    parser.add_argument("--zone", default="UTC", help="time zone of the file's days (default UTC)")
    parser.add_argument("--by", choices=SPLITS, default="", help="also by these")
    parser.add_argument(
        "--recorded-as",
        default="",
        help=f"what the ledger calls them: {', '.join(recorded.LABELS)} or tag:NAME",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="ID=NAME",
        help="what the ledger calls a project or key of the bill",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="what the ledger calls a model of the bill",
    )
    parser.add_argument(
        "--ledger-provider",
        action="append",
        default=[],
        metavar="NAME",
        help="gen_ai.provider.name of the calls (default: the provider's own; csv: any)",
    )
    parser.add_argument("--endpoint", default="", help="only calls of this endpoint_id, or a glob")


def has_flags(options: argparse.Namespace, *flags: str) -> bool:
    """Whether a flag says something of the bill itself, or one of the further ones is there."""
    return options.zone != "UTC" or any(getattr(options, each) for each in (*_OF_BILL, *flags))


def of_file(options: argparse.Namespace, *flags: str) -> Reconciliation | None:
    """Return the entry of the --config file that `provider` names; None: there is none.

    Raises `ConfigError` for a name that is no provider either, and for flags, of the bill or the
    further ones, that would change what the file says.
    """
    prices = config.read(options, options=(PRICES,))["prices"]
    for each in of_section(config.section(options, config.RECONCILE), prices):
        if each.name == options.provider:
            if has_flags(options, *flags):
                raise ConfigError(
                    f"the bill {each.name!r} has its settings in the file: change them there"
                )
            return each
    if options.provider not in PROVIDERS:
        raise ConfigError(
            f"{options.provider!r} is no provider ({', '.join(PROVIDERS)}) and no"
            " reconciliation in the --config file"
        )
    return None


def bill_of(options: argparse.Namespace, name: str = "") -> Bill:
    """Return the bill that the flags name. Raises `ConfigError` by flag."""
    _check(options)
    return Bill(
        provider=options.provider,
        name=name,
        file=Path(options.file) if options.file else None,
        columns=dict(pair(text, "--column") for text in options.column),
        key_file=Path(options.key_file) if options.key_file else None,
        url=options.url or "",
        zone=_zone(options),
        by=options.by,
        recorded_as=options.recorded_as,
        names=dict(pair(text, "--name") for text in options.name),
        models=dict(pair(text, "--model") for text in options.model),
        providers=options.ledger_provider,
        endpoint=options.endpoint,
        prices=config.read(options, options=(PRICES,))["prices"],
        is_of_flags=True,
    )


def _check(options: argparse.Namespace) -> None:
    if options.url:
        check_base(options.url)
    if options.provider == FILE and not options.file:
        raise ConfigError("csv: name the bill with --file FILE")
    if options.file and (options.url or options.key_file):
        raise ConfigError(
            "--file: --url and --key-file are for the provider's API; give one or other"
        )
    if options.by not in {"", *(splits := splits_of(options.provider))}:
        raise ConfigError(f"--by {options.by}: {options.provider} has {' or '.join(splits)} alone")
    if options.column and not options.file:
        raise ConfigError("--column is for --file")
    if bool(options.by) != bool(options.recorded_as):
        raise ConfigError(
            "--by and --recorded-as go together: by what the bill is split, and what the ledger"
            f" calls that ({', '.join(recorded.LABELS)}, tag:NAME)"
        )


def _zone(options: argparse.Namespace) -> str:
    if not options.file and options.zone != "UTC":
        raise ConfigError("--zone is for --file: the days of the providers' APIs are UTC")
    try:
        return ZoneInfo(options.zone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--zone {options.zone}: no such time zone; for example Europe/Berlin"
        ) from None


def pair(text: str, flag: str) -> tuple[str, str]:
    """Return both sides of LEFT=RIGHT. Raises `ConfigError`."""
    left, sign, right = text.partition("=")
    if not sign or not left.strip() or not right.strip():
        raise ConfigError(f"{flag} {text}: must be LEFT=RIGHT")
    return left.strip(), right.strip()
