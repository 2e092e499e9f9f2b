"""`tallyspan prices ...`: what calls are priced with, and what has no price."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tallyspan.conditions import BY_NAME as CONDITIONS
from tallyspan_clickhouse.moments import EPOCH
from tallyspan_collector import config, summary
from tallyspan_collector.booked import missing
from tallyspan_collector.commands import second_opinion, upkeep
from tallyspan_collector.commands.explained_text import price_steps
from tallyspan_collector.commands.price_book import PRICES, book_of
from tallyspan_collector.commands.store import reading
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint
from tallyspan_collector.pricing import in_use, listing, release
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.price_diff import difference
from tallyspan_collector.pricing.schema import schema
from tallyspan_collector.pricing.steps import day

SHOWN = 50
"""Changes of an update that are shown without --all."""


def add_parser(commands: Any) -> None:
    """Give `tallyspan prices` its parser."""
    parser = commands.add_parser("prices")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], what: str) -> Any:
        command = actions.add_parser(name, help=what)
        command.set_defaults(run=run)
        return command

    listed = action("list", _list, "the entries of the price file, most specific first")
    config.add_flags(listed, (PRICES, config.DATA_DIR))
    shown = action("show", _show, "the price of a model, and where it comes from")
    config.add_flags(shown, (PRICES, config.DATA_DIR))
    shown.add_argument("model")
    shown.add_argument("--provider", default="openai", help="gen_ai.provider.name (default openai)")
    shown.add_argument("--endpoint", default="", help="endpoint_id of the calls")
    shown.add_argument("--tier", default="", help="served service tier: flex, priority, batch, ...")
    shown.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"what the price depends on as well; names are {', '.join(CONDITIONS)}",
    )
    shown.add_argument("--at", default="", help="a date or time (UTC; default now)")
    checked = action("check", _check, "mistakes of the price file; our prices against others'")
    checked.add_argument("file", nargs="?", help="default: the one of --prices")
    config.add_flags(checked, (PRICES, config.DATA_DIR))
    second_opinion.add_flags(checked)
    lacking = action("missing", _missing, "models without a price, most tokens first, as YAML")
    config.add_flags(lacking, config.READ_OPTIONS)
    lacking.add_argument("--since", default="", help="how far back: 12h, 30d (default: all calls)")
    newer = action("update", _update, "newer bundled prices: shows what changes, applies on yes")
    config.add_flags(newer, (config.DATA_DIR,))
    newer.add_argument("--from", dest="wheel", metavar="FILE.whl", help="instead of pip download")
    newer.add_argument("--sha256", default="", help="what the wheel must have")
    newer.add_argument("--yes", action="store_true", help="apply without asking")
    newer.add_argument("--all", action="store_true", help="show every change, not the first 50")
    newer.add_argument(
        "--against",
        metavar="FILE|package|shipped",
        default=second_opinion.SHIPPED,
        help="the second source that the new prices are compared with (default: shipped)",
    )
    back = action("rollback", _rollback, "take the last update of bundled prices back")
    config.add_flags(back, (config.DATA_DIR,))
    upkeep.add_flags(
        action("draft", upkeep.draft, "a draft of what the price files lack or have otherwise"),
        action("retiring", upkeep.retiring, "models that end soon, who uses them, what follows"),
    )
    action("schema", _schema, "the JSON Schema of the price file, for editors")


def _path(options: argparse.Namespace) -> Path | None:
    path: Path | None = config.read(options, options=(PRICES,))["prices"]
    return path


def _list(options: argparse.Namespace) -> int:
    path = _path(options)
    book = book_of(options)
    file = book.file
    write_table(
        [
            {
                "line": rate.origin.line,
                "model": rate.match.model,
                "provider": rate.match.provider,
                "endpoint": rate.match.endpoint,
                "tier": rate.match.tier,
                "from": day(rate.match.from_ns),
                "to": day(rate.match.to_ns),
                "price_id": rate.price_id,
            }
            for rate in file.rates
        ],
        sys.stdout,
    )
    sys.stdout.write(
        f"{len(file.rates)} prices, {len(file.discounts)} discounts, {len(file.uplifts)} uplifts,"
        f" {len(file.aliases)} aliases of {path or 'no file'}; behind them {book.data.source}\n"
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    at_ns = time.time_ns()
    if options.at:
        at_ns = int(summary.parse_time(options.at, "--at").timestamp()) * 10**9
    conditions = _conditions(options.condition)
    book = book_of(options)
    place = (options.provider, options.endpoint, options.model, options.tier)
    price = book.quote(*place, at_ns, conditions)
    steps = [each.values() for each in book.steps(Kind(*place, tuple(conditions.items())), at_ns)]
    step_lines = "".join(f"{line.strip()}\n" for line in price_steps(steps))
    if isinstance(price, Unpriced):
        sys.stderr.write(f"{options.provider}/{options.model}: no price ({price.reason.value})\n")
        sys.stdout.write(step_lines)
        return 1
    sys.stdout.write(f"{price.price_id}\n")
    write_table(listing.rows(price), sys.stdout)
    sys.stdout.write(step_lines)
    return 0


def _conditions(pairs: Sequence[str]) -> dict[str, str]:
    """Return the conditions of `name=value` texts. Raises `ConfigError`."""
    conditions = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if name not in CONDITIONS or not (sign and value):
            raise ConfigError(
                f"--condition {pair}: must be NAME=VALUE; {hint(name, tuple(CONDITIONS))}"
            )
        conditions[name] = value.lower()
    return conditions


def _check(options: argparse.Namespace) -> int:
    if options.against:
        data_dir: Path = config.read(options, options=(config.DATA_DIR,))["data_dir"]
        return second_opinion.run(options, in_use.data_in_use(data_dir))
    path = Path(options.file) if options.file else _path(options)
    if path is None:
        raise ConfigError("no price file: name one, or set --prices")
    file = PriceBook.load(path).file
    problems = findings(file)
    for problem in problems:
        sys.stdout.write(problem + "\n")
    if not problems:
        sys.stdout.write(f"{path}: {len(file.rates)} prices, nothing to complain of\n")
    return 1 if problems else 0


def _missing(options: argparse.Namespace) -> int:
    since = summary.parse_since(options.since, datetime.now(UTC)) if options.since else EPOCH
    with reading(options) as client:
        sys.stdout.write(missing.draft(missing.find(client, since)))
    return 0


def _update(options: argparse.Namespace) -> int:
    data_dir: Path = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    with TemporaryDirectory() as folder:
        wheel = Path(options.wheel) if options.wheel else release.download(Path(folder))
        candidate = release.read_wheel(wheel, options.sha256)
    old, new = in_use.data_in_use(data_dir), candidate.data()
    if not in_use.is_newer(candidate.version, data_dir):
        sys.stdout.write(f"{old.source} is in use, and {new.source} is not newer\n")
        return 0
    diff = difference(old, new)
    for line in diff.lines(None if options.all else SHOWN):
        sys.stdout.write(line + "\n")
    sys.stdout.write(
        f"{old.source} -> {new.source}: {diff.summary()} (wheel {candidate.wheel_sha256})\n"
    )
    at = second_opinion.moment("")
    second = second_opinion.read(options.against, at.date())
    second_opinion.write_open(second_opinion.compare(new, second, at), sys.stdout)
    if not options.yes and not _is_yes():
        sys.stdout.write("nothing was changed; --yes applies it\n")
        return 1
    in_use.put_in_use(data_dir, candidate)
    sys.stdout.write(
        f"{new.source} is in use in {data_dir}; a collector there takes it within seconds;"
        " calls that are booked keep their cost (tallyspan reprice).\n"
        "tallyspan prices rollback takes it back\n"
    )
    return 0


def _is_yes() -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stdout.write("Apply? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _rollback(options: argparse.Namespace) -> int:
    data_dir: Path = config.read(options, options=(config.DATA_DIR,))["data_dir"]
    in_use.roll_back(data_dir)
    sys.stdout.write(f"{in_use.data_in_use(data_dir).source} is in use in {data_dir}\n")
    return 0


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
    return 0
