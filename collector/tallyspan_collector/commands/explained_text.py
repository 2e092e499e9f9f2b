"""An explanation as an operator reads it in a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from tallyspan_collector.commands.explained import WHO, Said


def lines(said: Said) -> Iterator[str]:
    """Yield the lines: the reports, each charge with its reasons and its sum, the ledger."""
    if "trace_id" in said:
        yield f"trace {said['trace_id']}"
    if "note" in said:
        yield said["note"]
    if "spans" in said:
        yield f"{len(said['spans'])} {'log records' if said['is_logs'] else 'spans'}"
        for each in said["spans"]:
            yield f"  {each['span_id']} {each['name']!r} of {_scope(each)}"
            dialect = f" ({each['dialect']})" if each["dialect"] else ""
            yield f"      {each['kind']}{dialect}: {each['reason']}"
    if "received" in said:
        yield f"{len(said['received'])} received"
        for each in said["received"]:
            yield f"  {each['span_id']} {each['kind']} ({each['dialect']}) of {_scope(each)}"
            inside = f", inside {each['parent_span_id']}" if each["parent_span_id"] else ""
            service = f", service {each['service_name']}" if each["service_name"] else ""
            yield f"      {each['start_time']}{inside}{service}"
            if model := _model(each):
                yield f"      {model}"
            yield from _measured(each)
    if "charges" in said:
        yield f"{len(said['charges'])} charged"
        for each in said["charges"]:
            yield f"  {each['span_id']} {_model(each)}"
            if len(each["reports"]) > 1:
                yield f"      one call, reported {len(each['reports'])} times:"
                for report in each["reports"]:
                    yield f"        {report['span_id']} ({report['dialect']}) of {_scope(report)}"
                for join in each["joins"]:
                    yield f"        {' = '.join(join['span_ids'])}: {join['reason']}"
            yield from _measured(each)
            yield from _cost(each)
    if "entries" in said:
        yield from _ledger(said)


def _ledger(said: Said) -> Iterator[str]:
    for span_id in said.get("not_in_ledger_yet", ()):
        yield f"{span_id} is decided and not in the ledger yet: see `tallyspan spool status`"
    yield f"{len(said['entries'])} entries in the ledger"
    for each in said["entries"]:
        yield (
            f"  {each['booked_at']} {each['entry_kind']} {each['sign']:+d} of {each['span_id']}"
            f" in batch {each['batch_id']}"
        )
        yield f"      {_model(each)}"
        yield from _measured(each)
        yield from _cost(each)
    net = said["net"]
    tokens = ", ".join(f"{name} {count}" for name, count in net["tokens"].items()) or "no tokens"
    calls = "1 call" if net["calls"] == 1 else f"{net['calls']} calls"
    yield f"net: {calls}, {tokens}, {net['cost_usd']} USD"
    if "notional_cost_usd" in net:
        yield f"     {net['notional_cost_usd']} USD notional: a subscription pays"


def _measured(each: Mapping[str, Any]) -> Iterator[str]:
    who = [f"{name} {each[name]}" for name in WHO if each.get(name)]
    if who:
        yield f"      for {', '.join(who)}"
    counts = [f"{name} {count}" for name, count in {**each["tokens"], **each["units"]}.items()]
    if counts or (each.get("kind") != "wrapper" and each.get("sign", 1)):
        yield f"      tokens: {', '.join(counts) or 'unknown'}"
    if each["quality_flags"]:
        yield f"      flags: {', '.join(each['quality_flags'])}"


def _cost(each: Mapping[str, Any]) -> Iterator[str]:
    if each["cost_usd"] is None:
        yield f"      no cost: {each['unpriced_reason'] or each['cost_status']}"
        return
    for line in each["arithmetic"]:
        yield f"      {line}"
    price = f" at {each['price_id']} of {each['price_source']}" if each["price_id"] else ""
    yield f"      {each['cost_usd']} USD ({each['cost_status']}){price}"


def _model(each: Mapping[str, Any]) -> str:
    said = (each["operation_name"], each["provider_name"], each["model_name"])
    return " ".join(name for name in said if name)


def _scope(each: Mapping[str, Any]) -> str:
    return each["scope_name"] or "an unnamed scope"
