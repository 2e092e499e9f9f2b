"""An explanation as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tallyspan_collector.booked.imports import OF_IMPORTS
from tallyspan_collector.commands.explained import WHO, Values
from tallyspan_collector.units.counts import counted

_MEANINGS = {
    ("reversal", -1): ", taken back: another report of it, or none, is what counts",
    ("price_change", 0): ", the difference to its new price",
    ("correction", -1): ", taken from where it was booked, or booked by another collector too",
    ("correction", 1): ", and booked where it belongs",
}

_OF_LEDGERS = {
    1: ", of LibreChat's own ledger: no span tells of it",
    -1: ", taken back: a span tells of it",
}


def lines(explanation: Values) -> Iterator[str]:
    """Yield the lines: the reports, each charge with reasons and arithmetic, the ledger."""
    if "trace_id" in explanation:
        yield f"trace {explanation['trace_id']}"
    for other in explanation.get("also", ()):
        yield f"and trace {other}, which tells of a call of it as well"
    if "note" in explanation:
        yield explanation["note"]
    if "spans" in explanation:
        yield counted(len(explanation["spans"]), "log record" if explanation["is_logs"] else "span")
        for each in explanation["spans"]:
            yield f"  {each['span_id']} {each['name']!r} of {_scope(each)}"
            dialect = f" ({each['dialect']})" if each["dialect"] else ""
            yield f"      {each['kind']}{dialect}: {each['reason']}"
    if "received" in explanation:
        yield f"{len(explanation['received'])} received"
        for each in explanation["received"]:
            yield f"  {each['span_id']} {each['kind']} ({each['dialect']}) of {_scope(each)}"
            inside = f", inside {each['parent_span_id']}" if each["parent_span_id"] else ""
            service = f", service {each['service_name']}" if each["service_name"] else ""
            yield f"      {each['start_time']}{inside}{service}"
            if model := _model(each):
                yield f"      {model}"
            yield from _measured(each)
    if "charges" in explanation:
        yield f"{len(explanation['charges'])} charged"
        for each in explanation["charges"]:
            yield f"  {each['span_id']} {_model(each)}"
            if len(each["reports"]) > 1:
                yield f"      one call, reported {len(each['reports'])} times:"
                for report in each["reports"]:
                    yield f"        {report['span_id']} ({report['dialect']}) of {_scope(report)}"
                for join in each["joins"]:
                    yield f"        {' = '.join(join['span_ids'])}: {join['reason']}"
            yield from _measured(each)
            yield from _read_from(each)
            yield from _cost(each)
            if any(
                _is_price_change_of(each["span_id"], other)
                for other in explanation.get("entries", ())
            ):
                yield "      as it was booked; its price changed later: see the ledger"
    if "entries" in explanation:
        yield from _ledger(explanation)


def _ledger(explanation: Values) -> Iterator[str]:
    for span_id in explanation.get("not_in_ledger_yet", ()):
        yield f"{span_id} is decided and not in the ledger yet: see `tallyspan spool status`"
    yield f"{counted(len(explanation['entries']), 'entry', 'entries')} in the ledger"
    for each in explanation["entries"]:
        what = _meaning(each)
        yield f"  {each['booked_at']} {each['entry_kind']} of {each['span_id']}{what}"
        yield f"      batch {each['batch_id']}"
        yield f"      {_model(each)}"
        yield from _measured(each)
        yield from _cost(each)
    net = explanation["net"]
    tokens = ", ".join(f"{name} {count}" for name, count in net["tokens"].items()) or "no tokens"
    yield f"net: {counted(net['calls'], 'call')}, {tokens}, {net['cost_usd']} USD"
    if "notional_cost_usd" in net:
        yield f"     {net['notional_cost_usd']} USD notional: a subscription or a commitment pays"


def _meaning(entry: Mapping[str, Any]) -> str:
    if entry["entry_kind"] == "correction" and str(entry.get("source", "")).startswith(OF_IMPORTS):
        return _OF_LEDGERS[entry["sign"]]
    return _MEANINGS.get((entry["entry_kind"], entry["sign"]), "")


def _is_price_change_of(span_id: str, entry: Mapping[str, Any]) -> bool:
    return bool(entry["entry_kind"] == "price_change" and entry["span_id"] == span_id)


def _measured(each: Mapping[str, Any]) -> Iterator[str]:
    who = [f"{name} {each[name]}" for name in WHO if each.get(name)]
    if who:
        yield f"      for {', '.join(who)}"
    counts = [f"{name} {count}" for name, count in {**each["tokens"], **each["meters"]}.items()]
    if counts or (each.get("kind") != "wrapper" and each.get("sign", 1)):
        yield f"      meters: {', '.join(counts) or 'unknown'}"
    if conditions := [f"{name} {value}" for name, value in each["conditions"].items()]:
        yield f"      conditions: {', '.join(conditions)}"
    if each["quality_flags"]:
        yield f"      flags: {', '.join(each['quality_flags'])}"
    if each["unread"]:
        yield f"      unread: {', '.join(each['unread'])}"


def _read_from(each: Mapping[str, Any]) -> Iterator[str]:
    for fact in each["read_from"]:
        report = (
            f"{fact['span_id']} ({fact['dialect']})" if fact["span_id"] else "no report as it is"
        )
        place = f"{fact['place']} of " if fact["place"] else ""
        yield f"      {fact['name']} {fact['value']}: from {place}{report}"


def _cost(each: Mapping[str, Any]) -> Iterator[str]:
    yield from price_steps(each["steps"])
    if each["cost_usd"] is None:
        yield f"      no cost: {each['unpriced_reason'] or each['cost_status']}"
        return
    for line in each["arithmetic"]:
        yield f"      {line}"
    price = f" at {each['price_id']}" if each["price_id"] else ""
    if price and each["price_source"]:
        price += f" of {each['price_source']}"
    if "cost_after_usd" in each:
        cost = each["cost_usd"] if each["cost_usd"].startswith("-") else f"+{each['cost_usd']}"
        yield f"      {cost} USD, and so {each['cost_after_usd']} USD{price}"
        return
    yield f"      {each['cost_usd']} USD ({each['cost_status']}){price}"
    if each["price_flags"]:
        other = each["other_cost_usd"]
        either = "" if other is None else f"; decided the other way: {other} USD"
        yield f"      undecided: {', '.join(each['price_flags'])}{either}"


def price_steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each step in which a price was made."""
    for step in steps:
        yield f"      {step['text']}{_origin(step['origin'])}"


def _origin(origin: Mapping[str, Any] | None) -> str:
    """Return where a step comes from: file and line, source, when it was checked, how sure."""
    if origin is None:
        return ""
    place = f"{origin['file']}:{origin['line']}" if origin["line"] else origin["file"]
    notes = [
        origin["source"],
        f"checked {origin['checked']}" if origin["checked"] else "",
        f"evidence {origin['evidence']}" if origin["evidence"] else "",
        origin["note"],
    ]
    return f" ({', '.join(each for each in (place, *notes) if each)})"


def _model(each: Mapping[str, Any]) -> str:
    names = (each["operation_name"], each["provider_name"], each["model_name"])
    return " ".join(name for name in names if name)


def _scope(each: Mapping[str, Any]) -> str:
    return each["scope_name"] or "an unnamed scope"
