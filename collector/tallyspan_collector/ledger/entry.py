"""Calls and what they cost -> the columns of `llm_calls`, in the order they are inserted."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_clickhouse.schema import COLUMNS
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ledger.failures import costs_nothing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    MAX_COST_PICOUSD,
    Priced,
    Unpriced,
    refusal,
)
from tallyspan_collector.read.call import Call, Columns

NS_PER_US = 1_000
_PICOUSD = Decimal("1e-12")
FAR_BELOW = 10
"""A reported cost below this part of the book's price is doubtful."""
REPORTED_FAR_BELOW_PRICE = "reported_far_below_price"
CACHE_HIT_WITH_USAGE = "cache_hit_with_usage"


class Cost(NamedTuple):
    """What an entry costs, in pico-dollars (None: not priced, see `unpriced_reason`), and who pays.

    `cost_status`: priced, reported (the provider's own figure), unpriced, or not_billed. A reversal
    has the amounts of its call negated and names the same department, even if the directory has
    changed since. `department_source` is span, directory, key or empty. `price_flags`: what is
    doubtful about the price; `other_cost_picousd`: the cost if that is decided the other way.
    `cache_saved_picousd`: what the cache saved, below 0 if it cost more than it saved.
    """

    cost_picousd: int | None = None
    input_cost_picousd: int | None = None
    output_cost_picousd: int | None = None
    cost_status: str = "unpriced"
    unpriced_reason: str = ""
    price_id: str = ""
    price_source: str = ""
    reported_cost_picousd: int | None = None
    department: str = ""
    department_source: str = ""
    price_flags: tuple[str, ...] = ()
    other_cost_picousd: int | None = None
    cache_saved_picousd: int | None = None

    def reversed(self) -> "Cost":
        """Return the cost of the entry that takes this one back."""
        return self._replace(
            cost_picousd=_signed(self.cost_picousd, -1),
            input_cost_picousd=_signed(self.input_cost_picousd, -1),
            output_cost_picousd=_signed(self.output_cost_picousd, -1),
            reported_cost_picousd=_signed(self.reported_cost_picousd, -1),
            cache_saved_picousd=_signed(self.cache_saved_picousd, -1),
        )


_WORKED_OUT = {*TOKEN_FIELDS, *Cost._fields, "meters", "trace_id", "span_id"}
AS_IN_CALL = tuple(
    each.name for each in COLUMNS if each.name in Call._fields and each.name not in _WORKED_OUT
)
"""Columns of the ledger that are fields of `Call`, as they are."""


def costs(calls: Sequence[Call], book: PriceBook, directory: Directory) -> list[Cost]:
    """Return what each call costs and who pays, in the order of the calls.

    A cost that the provider reported is the cost. A request that was refused or never left the
    client (`failures.py`) costs nothing, nor does one that a gateway's cache answered. Every other
    call costs what the price book says; None: it has no price, or nothing explains its total. The
    department is that of the span, else of the directory, else of the key.
    """
    result: list[Cost] = []
    add = result.append
    for call, price in zip(calls, book.price_calls(calls), strict=True):
        priced = (refusal(call.quality_flags) if call.quality_flags else None) or price
        payer = (call.department, "span") if call.department else _payer(call, directory)
        reported = call.reported_cost_picousd
        if (
            call.is_cache_hit
            or (not reported and costs_nothing(call))
            or (call.operation_name == "moderation" and not call.usage)
        ):
            doubt = _cache_doubt(priced) if call.is_cache_hit else ((), None)
            add(Cost(0, None, None, "not_billed", "", "", "", reported, *payer, *doubt))
        elif reported is not None:
            doubt = _below_price(reported, priced)
            add(
                Cost(reported, None, None, "reported", "", "", "provider", reported, *payer, *doubt)
            )
        elif isinstance(priced, Unpriced) or priced[0] >= MAX_COST_PICOUSD:
            reason = (priced if isinstance(priced, Unpriced) else INCONSISTENT_USAGE).reason.value
            add(Cost(None, None, None, "unpriced", reason, "", "", None, *payer))
        else:
            amount, prompt, answer, price_id, source, flags, other, saved = priced
            cost = (amount, prompt, answer, "priced", "", price_id, source, None)
            add(Cost(*cost, *payer, flags, other, saved))
    return result


def _below_price(reported: int, priced: Priced | Unpriced) -> tuple[tuple[str, ...], int | None]:
    """Return the flag and the book's price of a cost that is reported far below that price.

    The sender of a span can report anything, its own bill at nothing too.
    """
    if isinstance(priced, Unpriced) or reported * FAR_BELOW >= priced[0]:
        return (), None
    return (REPORTED_FAR_BELOW_PRICE,), min(priced[0], MAX_COST_PICOUSD - 1)


def _cache_doubt(priced: Priced | Unpriced) -> tuple[tuple[str, ...], int | None]:
    """Return the flag and the book's price of a call with usage that a gateway's cache answered.

    The sender of a span can name any call so.
    """
    if isinstance(priced, Unpriced) or not priced[0]:
        return (), None
    return (CACHE_HIT_WITH_USAGE,), min(priced[0], MAX_COST_PICOUSD - 1)


def _payer(call: Call, directory: Directory) -> tuple[str, str]:
    department = directory.department(call.tenant, call.user_id, call.start_time_ns)
    if department:
        return department, "directory"
    return call.key_department, "key" if call.key_department else ""


def columns(
    fields: Columns,
    costs: Sequence[Cost],
    batch_id: int,
    ingested_ms: int,
    reversals: int = 0,
    collector: str = "",
) -> dict[str, Sequence[object]]:
    """Return column name -> values of a batch of calls; `fields` are field name -> their values.

    `costs` are in the same order. The last `reversals` of the calls are taken back: their amounts
    are negated here, except those in `costs`, which already are. `collector` books them.
    """
    added = len(costs) - reversals
    result: dict[str, Sequence[object]] = {name: fields[name] for name in AS_IN_CALL}
    result["start_time"] = [ns // NS_PER_US for ns in fields["start_time_ns"]]
    result["duration_us"] = [
        (end - start) // NS_PER_US
        for start, end in zip(fields["start_time_ns"], fields["end_time_ns"], strict=True)
    ]
    result["model_name"] = [
        answered or requested
        for answered, requested in zip(
            fields["response_model"], fields["request_model"], strict=True
        )
    ]
    result["status"] = ["error" if is_error else "ok" for is_error in fields["is_error"]]
    for name in ("trace_id", "span_id"):
        result[name] = [each.encode() for each in fields[name]]
    result["sign"] = [1] * added + [-1] * reversals
    result["entry_kind"] = ["call"] * added + ["reversal"] * reversals
    for name in TOKEN_FIELDS:
        result[name] = _taken_back(fields[name], added)
    result["meters"] = [
        *fields["meters"][:added],
        *({name: -used for name, used in each.items()} for each in fields["meters"][added:]),
    ]
    claimed = _taken_back(fields["claimed_cost_picousd"], added)
    result["claimed_cost_usd"] = usd(claimed)
    for name, values in zip(Cost._fields, zip(*costs, strict=True), strict=True):
        if name.endswith("_picousd"):
            result[name.replace("_picousd", "_usd")] = usd(values)
        else:
            result[name] = values
    result["collector"] = [collector] * len(costs)
    result["batch_id"] = [batch_id] * len(costs)
    result["ingested_at"] = [ingested_ms] * len(costs)
    return result


def _taken_back(amounts: Sequence[Any], added: int) -> Sequence[Any]:
    """Return the amounts, negated from place `added` on."""
    if added == len(amounts):
        return amounts
    return [*amounts[:added], *(_signed(amount, -1) for amount in amounts[added:])]


def usd(amounts: Iterable[int | None]) -> list[Decimal | None]:
    """Return USD of amounts in pico-dollars."""
    # exact: no amount has more digits than the context keeps (28)
    return [None if amount is None else _PICOUSD * amount for amount in amounts]


def _signed(amount: int | None, sign: int) -> int | None:
    return None if amount is None else sign * amount
