"""`tallyspan reconcile librechat`: LibreChat's ledger beside ours, each difference explained."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TextIO

from tallyspan_collector.commands.librechat_import import import_named
from tallyspan_collector.commands.period import period
from tallyspan_collector.commands.store import writing
from tallyspan_collector.commands.table import write_table
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.spreadsheet import write_rows
from tallyspan_collector.librechat.compare import Comparison, Key, Sums, compare
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.librechat.reasons import Reason
from tallyspan_collector.librechat.settings import uri_of
from tallyspan_collector.units.counts import counted

DEFAULT_DAYS = 7
COLUMNS = (
    "day", "user", "model", "context", "their_calls", "our_calls", "their_tokens", "our_tokens",
    "their_cost_usd", "our_cost_usd", "reason",
)  # fmt: skip


def reconcile(options: argparse.Namespace, names: Mapping[str, str]) -> int:
    """Compare the days of the flags; return 0 if everything is explained, else 1.

    `names` says what our ledger calls a user of theirs.
    """
    what = import_named(options, options.import_name)
    what = replace(what, names={**what.names, **names})
    now = datetime.now(UTC)
    first, last = period(options, DEFAULT_DAYS, now.date())
    if last > now.date():
        raise ConfigError(f"--to {last}: that day has not begun")
    # whose a call is and what it names is not for the reader's account
    with Mongo(uri_of(what), what.database) as mongo, writing(options) as client:
        comparison = compare(client, mongo, what, first, last, now)
    _write(comparison, options.format, sys.stdout)
    return 1 if comparison.unexplained else 0


def _write(comparison: Comparison, form: str, out: TextIO) -> None:
    rows = [_row(key, sums) for key, sums in sorted(comparison.lines.items())]
    match form:
        case "json":
            answer = {
                "is_explained": not comparison.unexplained,
                "unexplained_calls": comparison.unexplained,
                "reasons": _reasons(comparison),
                "waiting_calls": comparison.waiting,
                "documents_without_other_half": comparison.orphans,
                "unreadable_documents": comparison.unreadable,
                "lines": rows,
            }
            out.write(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")
        case "csv":
            write_rows(rows, COLUMNS, out)
        case _:
            write_table(rows, out, left=4)
            out.writelines(f"{line}\n" for line in _sentences(comparison))


def _sentences(comparison: Comparison) -> Sequence[str]:
    notes = [
        (comparison.waiting, "call", "of LibreChat not settled yet: spans may still come"),
        (comparison.orphans, "document", "left out: the other half of the call was never written"),
        (comparison.unreadable, "document", "left out: no half of a call"),
    ]
    reasons = _reasons(comparison)
    equal = reasons.pop(Reason.EQUAL, 0)
    return [
        *(f"{counted(count, noun)} {why}" for count, noun, why in notes if count),
        *(f"{reason}: {counted(count, 'call')}" for reason, count in reasons.items()),
        f"{counted(equal, 'call')} equal on both sides, {comparison.unexplained} unexplained",
    ]


def _reasons(comparison: Comparison) -> dict[str, int]:
    """Return how many calls each reason explains, most first."""
    counts: Counter[str] = Counter()
    for key, sums in comparison.lines.items():
        counts[key.reason] += max(sums.their_calls, sums.our_calls)
    return dict(counts.most_common())


def _row(key: Key, sums: Sums) -> dict[str, Any]:
    values = (
        key.day.isoformat(), key.user, key.model, key.context, sums.their_calls, sums.our_calls,
        sums.their_tokens, sums.our_tokens, f"{sums.their_cost_usd:f}", f"{sums.our_cost_usd:f}",
        key.reason.value,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
