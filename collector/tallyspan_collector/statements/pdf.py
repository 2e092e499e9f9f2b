"""A statement as PDF, set by typst from `statement.typ`; texts of the ledger are no markup."""

import json
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.statements.statement import (
    LISTS,
    PARTS,
    Item,
    Statement,
    compared_label,
    correction_label,
)
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.shares import shares, to_cents
from tallyspan_collector.units.text import printable

MAX_ROWS = 40
"""Of a list in a PDF; the files have up to `read.MAX_ITEMS`."""
_MAX_NAME = 90
# What the fonts inside typst have letters of; other scripts need fonts of the machine.
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC")
_NAMED = {"model": "Model", "user": "User", "agent": "Agent", "service": "Service"}


def check_usable() -> None:
    """Raise `ConfigError` if the package that sets PDFs is not installed."""
    if find_spec("typst") is None:
        raise ConfigError(
            "statements as PDF need a package more: pip install 'tallyspan[statements]'; CSV and"
            " Parquet need none"
        )


def pdf(statement: Statement) -> bytes:
    """Return the PDF; of the same statement always the same bytes, with the same fonts.

    Raises `ConfigError` without the package `typst`.
    """
    check_usable()
    import typst

    content = _content(statement)
    text = json.dumps(content, ensure_ascii=False)
    result = typst.compile(
        _template(),
        format="pdf",
        sys_inputs={"content": text},
        ignore_system_fonts=not content["needs_fonts"],
    )
    if not isinstance(result, bytes):
        raise TypeError("typst returned no PDF")
    return result


@cache
def _template() -> bytes:
    return files(__package__).joinpath("statement.typ").read_bytes()


def _content(statement: Statement) -> dict[str, Any]:
    """Return what the template shows: texts only, in the order they stand there."""
    owner, moment = statement.owner, statement.moment
    total = to_cents(statement.sums["cost_usd"])
    names = [
        owner.name,
        owner.tenant,
        *(each.label for of in LISTS for each in statement.listed(of, MAX_ROWS)),
    ]
    return {
        "title": f"Statement {statement.month:%Y-%m} of {_name(owner.name)}",
        "of": "Department" if owner.by == "department" else "Cost centre",
        "name": _name(owner.name),
        "month": f"{statement.month:%B %Y}",
        "facts": _facts(statement),
        "is_provisional": not statement.state.is_closed,
        "version": statement.ledger_version(),
        "date": [moment.year, moment.month, moment.day],
        "summary": _summary(statement, total),
        "notes": _notes(statement),
        "charge": _charge(statement),
        "currency": statement.currency,
        "lists": [_list(statement, name, total) for name in LISTS],
        "needs_fonts": any(map(_needs_fonts, names)),
    }


def _facts(statement: Statement) -> list[list[str]]:
    """Return what stands in the head: pairs of texts."""
    owner = statement.owner
    facts = [["Month", f"{statement.month:%Y-%m} (UTC)"]]
    if owner.tenant:
        facts.insert(0, ["Organisation", _cut(owner.tenant)])
    if statement.state.is_closed:
        state = statement.state
        facts.append(["State", f"closed, version {state.version}"])
        facts.append(["Closed", f"{state.at} by {_cut(state.by)}"])
    else:
        facts.append(["State", statement.ledger_version()])
    if statement.shown_to:
        facts.append(["Departments", f"only {', '.join(map(_cut, statement.shown_to))}"])
    return facts


def _summary(statement: Statement, total: Decimal) -> list[list[str]]:
    """Return the rows of the totals: kind (total, sum or part), what, and dollars."""
    sums = statement.sums
    amounts = (statement.recorded_usd, sums["true_up_cost_usd"], sums["prior_period_cost_usd"])
    recorded, trued_up, corrected = shares(amounts, total)
    rows = [["sum", "Recorded", _dollars(recorded)]]
    parts = shares([sums[key] for _, key, _ in PARTS], recorded)
    for (name, key, label), amount in zip(PARTS, parts, strict=True):
        if sums[key] or name == "calls":
            rows.append(["part", label, _dollars(amount)])
    rows.append(["sum", "Trued up to bills", _dollars(trued_up)])
    rows.append(["sum", "Corrections of closed months", _dollars(corrected)])
    costs = shares([cost for _, cost in statement.corrections], corrected)
    for (month, _), amount in zip(statement.corrections, costs, strict=True):
        rows.append(["part", correction_label(month), _dollars(amount)])
    rows.append(["total", "Total", _dollars(total)])
    if statement.currency:
        in_currency = _plain(statement.cost_in_currency)
        rows.append(["total", f"Total in {statement.currency}", in_currency])
    return rows


def _notes(statement: Statement) -> list[str]:
    """Return the sentences under the totals."""
    notes = []
    if unpriced := statement.sums["unpriced_calls"]:
        notes.append(f"{counted(unpriced, 'call')} without a price: missing in the total.")
    if (compared := statement.comparison) is not None:
        percent = "it had nothing" if compared.percent is None else f"{compared.percent:+f}%"
        difference = to_cents(compared.this_usd) - to_cents(compared.last_usd)
        sign = "+" if difference > 0 else ""
        last = compared.last_is
        which = f" (closed, version {last.version})" if last.is_closed else " (open)"
        which = which if compared.days is None else ""
        notes.append(
            f"{_sentence(compared_label(statement.month, compared))}:"
            f" {_dollars(to_cents(compared.this_usd))} against"
            f" {_dollars(to_cents(compared.last_usd))}{which}:"
            f" {sign}{_dollars(difference)} ({percent})."
        )
    else:
        notes.append("No day of the month is over: nothing to compare with last month.")
    if statement.currency:
        rates = (
            "; ".join(
                f"1 {statement.currency} = {each['usd']} USD"
                + (f" since {each['from']}" if each["from"] else "")
                for each in statement.rates
            )
            or "no rate"
        )
        which = (
            "that of the month's last day" if statement.state.is_closed else "each day at its own"
        )
        notes.append(f"Rate of {statement.currency}, {which}: {rates}.")
    return notes


def _charge(statement: Statement) -> list[list[str]]:
    """Return the rows of what is charged inside; none without a rate card."""
    charge = statement.charge
    if charge is None:
        return []
    charged = to_cents(charge.charged_usd)
    amounts = shares([each.cost_usd for each in charge.items], charged)
    rows = []
    for item, amount in zip(charge.items, amounts, strict=True):
        of = "" if item.base_usd is None else f" of {_dollars(to_cents(item.base_usd))}"
        rows.append(["sum", f"{_cut(item.label)}{of}", _dollars(amount)])
    rows.append(["total", "Charged", _dollars(charged)])
    if statement.currency:
        rows.append(
            ["total", f"Charged in {statement.currency}", _plain(statement.charge_in_currency)]
        )
    return rows


def _list(statement: Statement, name: str, total: Decimal) -> dict[str, Any]:
    """Return a list: its heading, rows of texts and the row of the total."""
    whole = statement.whole
    items = statement.listed(name, MAX_ROWS)
    costs = shares([each.cost_usd for each in items], total)
    rows = [
        _row(_label(item), item, cost, amount, whole)
        for item, cost, amount in zip(items, costs, _in_currency(statement, items), strict=True)
    ]
    amount = _plain(statement.cost_in_currency) if statement.currency else ""
    return {
        "heading": f"By {name}",
        "column": _NAMED[name],
        "rows": rows,
        "total": _row("Total", whole, total, amount, whole),
    }


def _in_currency(statement: Statement, items: Sequence[Item]) -> list[str]:
    """Return the amounts of the items in the second currency, as texts; empty without one."""
    amounts = [each.cost_in_currency for each in items]
    total = statement.cost_in_currency
    whole = [each for each in amounts if each is not None]
    if total is not None and len(whole) == len(amounts):
        return [_plain(each) for each in shares(whole, to_cents(total))]
    return [_plain(each) if statement.currency else "" for each in amounts]


def _row(label: str, item: Item, cost: Decimal, amount: str, whole: Item) -> list[str]:
    share = ""
    if whole.cost_usd > 0:
        share = f"{item.cost_usd / whole.cost_usd * 100:.1f}%"
    counts = ["" if each is None else f"{each:,}" for each in item[3:6]]
    return [label, *counts, _dollars(cost), *([amount] if amount else []), share]


def _label(item: Item) -> str:
    if item.label and item.name and item.label != item.name:
        return _cut(f"{item.label} ({item.name})")
    return _name(item.label)


def _name(name: str) -> str:
    return _cut(name) if name else "(none)"


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 1]}…"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _dollars(amount: Decimal) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"


def _plain(amount: Decimal | None) -> str:
    return "no rate" if amount is None else f"{to_cents(amount):,.2f}"


def _needs_fonts(text: str) -> bool:
    return any(
        ord(char) > 0x7F  # noqa: PLR2004  ASCII
        and char.isalpha()
        and not unicodedata.name(char, "").startswith(_SCRIPTS)
        for char in text
    )
