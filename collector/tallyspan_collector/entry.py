"""A priced call as one row of `llm_calls`: the columns, in the order they are inserted."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.call import Call
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced, Unpriced
from tallyspan_collector.pricing.region import region_of

NS_PER_US = 1_000
_FIRST_REFUSED_STATUS = 400


def _usd(picousd: int | None) -> Decimal | None:
    return None if picousd is None else Decimal(picousd).scaleb(-12)


def cost(call: Call, book: PriceBook) -> dict[str, Any]:
    """Return the cost columns of the call.

    What the provider says it billed is the cost; a request it refused (HTTP 4xx and 5xx, without
    usage) costs nothing; else the price book decides, and what it cannot price stays NULL.
    """
    columns: dict[str, Any] = {
        "cost_usd": None,
        "input_cost_usd": None,
        "output_cost_usd": None,
        "cost_status": "unpriced",
        "unpriced_reason": "",
        "price_id": "",
        "price_source": "",
        "reported_cost_usd": _usd(call.reported_cost_picousd),
    }
    if call.http_status >= _FIRST_REFUSED_STATUS and not call.usage:
        return columns | {"cost_usd": Decimal(0), "cost_status": "not_billed"}
    if call.is_cache_hit:
        return columns | {"cost_usd": Decimal(0), "cost_status": "not_billed"}
    if call.operation_name == "moderation" and not call.usage:
        return columns | {"cost_usd": Decimal(0), "cost_status": "not_billed"}
    if call.reported_cost_picousd is not None:
        return columns | {
            "cost_usd": _usd(call.reported_cost_picousd),
            "cost_status": "reported",
            "price_source": "provider",
        }
    match book.price(
        provider=call.provider_name,
        endpoint_id=call.endpoint_id,
        model=call.model_name,
        at_ns=call.start_time_ns,
        usage=call.usage,
        service_tier=call.service_tier,
        region=region_of(call.server_address),
        units=call.units,
    ):
        case Priced() as priced:
            return columns | {
                "cost_usd": _usd(priced.cost_picousd),
                "input_cost_usd": _usd(priced.input_cost_picousd),
                "output_cost_usd": _usd(priced.output_cost_picousd),
                "cost_status": "priced",
                "price_id": priced.price_id,
                "price_source": priced.price_source,
            }
        case Unpriced() as unpriced:
            return columns | {"unpriced_reason": unpriced.reason.value}


def paid_by(call: Call, directory: Directory) -> dict[str, Any]:
    """Return the columns of who pays: what the span says, else the directory, else the key.

    They are kept with the cost of the entry: its reversal names the same department, whatever the
    directory has become since.
    """
    if call.department:
        return {"department": call.department, "department_source": "span"}
    found = directory.department(call.tenant, call.user_id, call.start_time_ns)
    if found:
        return {"department": found, "department_source": "directory"}
    source = "key" if call.key_department else ""
    return {"department": call.key_department, "department_source": source}


_COLUMNS: Mapping[str, Callable[[Call], object]] = {
    "start_time": lambda call: call.start_time_ns // NS_PER_US,
    "tenant": lambda call: call.tenant,
    "source": lambda call: call.source,
    "service_name": lambda call: call.service_name,
    "user_id": lambda call: call.user_id,
    "agent_id": lambda call: call.agent_id,
    "agent_name": lambda call: call.agent_name,
    "conversation_id": lambda call: call.conversation_id,
    "tags": lambda call: call.tags,
    "provider_name": lambda call: call.provider_name,
    "endpoint_id": lambda call: call.endpoint_id,
    "server_address": lambda call: call.server_address,
    "operation_name": lambda call: call.operation_name,
    "request_model": lambda call: call.request_model,
    "response_model": lambda call: call.response_model,
    "model_name": lambda call: call.model_name,
    "service_tier": lambda call: call.service_tier,
    "is_stream": lambda call: call.is_stream,
    "status": lambda call: "error" if call.is_error else "ok",
    "error_type": lambda call: call.error_type,
    "finish_reason": lambda call: call.finish_reason,
    "usage_source": lambda call: call.usage_source,
    "duration_us": lambda call: (call.end_time_ns - call.start_time_ns) // NS_PER_US,
    "time_to_first_chunk_us": lambda call: call.time_to_first_chunk_us,
    "trace_id": lambda call: call.trace_id.encode(),
    "span_id": lambda call: call.span_id.encode(),
    "parent_span_id": lambda call: call.parent_span_id,
    "response_id": lambda call: call.response_id,
    "scope_name": lambda call: call.scope_name,
    "part": lambda call: call.part,
    "is_notional": lambda call: call.is_notional,
    "quality_flags": lambda call: call.quality_flags,
}
_COST_AMOUNTS = ("cost_usd", "input_cost_usd", "output_cost_usd", "reported_cost_usd")


def reversed_cost(cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost columns of an entry that takes back one with these."""
    return {
        name: -value if name in _COST_AMOUNTS and value is not None else value
        for name, value in cost.items()
    }


def columns(
    calls: Sequence[Call],
    costs: Sequence[Mapping[str, Any]],
    batch_id: int,
    ingested_ms: int,
    signs: Sequence[int] = (),
) -> dict[str, list[object]]:
    """Return column name -> values of a batch; `costs` has what `cost` and `paid_by` said of each.

    `signs` are 1 for a call and -1 for a reversal (all calls if there are none): a reversal has
    the amounts of its call negated, and its cost as `reversed_cost` returns it.
    """
    signs = signs or [1] * len(calls)
    made: dict[str, list[object]] = {
        name: [value(call) for call in calls] for name, value in _COLUMNS.items()
    }
    made["sign"] = list(signs)
    made["entry_kind"] = ["call" if sign > 0 else "reversal" for sign in signs]
    for name in TOKEN_FIELDS:
        made[name] = [
            _signed(getattr(call.usage, name), sign)
            for call, sign in zip(calls, signs, strict=True)
        ]
    made["units"] = [
        {name: sign * units for name, units in call.units.items()}
        for call, sign in zip(calls, signs, strict=True)
    ]
    made["claimed_cost_usd"] = [
        _usd(_signed(call.claimed_cost_picousd, sign))
        for call, sign in zip(calls, signs, strict=True)
    ]
    for name in costs[0]:
        made[name] = [each[name] for each in costs]
    made["batch_id"] = [batch_id] * len(calls)
    made["ingested_at"] = [ingested_ms] * len(calls)
    return made


def _signed(amount: int | None, sign: int) -> int | None:
    return None if amount is None else sign * amount
