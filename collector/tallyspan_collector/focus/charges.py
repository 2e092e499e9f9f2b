"""The rows of the dataset Cost and Usage of FOCUS 1.4: calls by class, and what is of no call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from tallyspan.conditions import COMMITMENT
from tallyspan.meters import BY_NAME
from tallyspan_clickhouse.schema import IMPORTED, PRIOR_PERIOD, TRUE_UP
from tallyspan_collector.focus.exact import EXACT, text
from tallyspan_collector.focus.groups import Calls, Other, Place
from tallyspan_collector.focus.sku import (
    REQUESTS_UNIT,
    TOKENS,
    Row,
    Sku,
    json_text,
    named,
    sku_columns,
    unit_of,
)
from tallyspan_collector.focus.split import Part, Splitter
from tallyspan_collector.units.months import next_month

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId",
    "CommitmentDiscountName", "CommitmentDiscountQuantity", "CommitmentDiscountStatus",
    "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "HostProviderName", "InvoiceDetailId",
    "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ResourceId", "ResourceName", "ResourceType",
    "ServiceCategory", "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId",
    "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
USD, DAYS = "USD", "Days"
_ONE, _NOTHING = Decimal(1), Decimal(0)


@dataclass(frozen=True, slots=True)
class Prices:
    """An amount at its prices.

    `billed` and `effective` are USD; None: what it costs as contracted, and what is billed.
    """

    quantity: Decimal
    unit: str
    usd: Decimal
    list_usd: Decimal
    billed: Decimal | None = None
    effective: Decimal | None = None

    def columns(self) -> Row:
        """Return the columns of costs, prices and the priced amount."""
        quantity, usd, list_usd = self.quantity, self.usd, self.list_usd
        contracted = EXACT.multiply(quantity, usd)
        cost, price = text(contracted), _price_text(usd)
        billed = cost if self.billed is None else text(self.billed)
        is_list = usd == list_usd
        return {
            "BilledCost": billed,
            "EffectiveCost": billed if self.effective is None else text(self.effective),
            "ContractedCost": cost,
            "ContractedUnitPrice": price,
            "ListCost": cost if is_list else text(EXACT.multiply(quantity, list_usd)),
            "ListUnitPrice": price if is_list else _price_text(list_usd),
            "PricingQuantity": text(quantity),
            "PricingUnit": self.unit,
        }


@lru_cache(maxsize=4096)
def _price_text(usd: Decimal) -> str:
    return text(usd)


class Charges:
    """Rows of a day. Those of calls add up to what the ledger has of them, to the pico-dollar."""

    def __init__(self, splitter: Splitter, commitment_types: Mapping[str, str]) -> None:
        self._splitter = splitter
        self._types = commitment_types

    def of_calls(self, day: date, calls: Sequence[Calls]) -> Iterator[Row]:
        """Yield the rows of the calls of one place."""
        row = _place(day, calls[0].place) | {
            "ChargeCategory": "Usage",
            "ChargeFrequency": "Usage-Based",
        }
        for each in self._splitter.merged(calls):
            for other in self._of_calls(each):
                yield _row(row, other)

    def of_other(self, day: date, other: Other) -> Iterator[Row]:
        """Yield the rows of entries that are of no call."""
        row = _place(day, other.place)
        for each in self._of_other(other):
            yield _row(row, each)

    def _of_calls(self, calls: Calls) -> Iterator[Row]:
        is_notional = calls.cost_status == "notional"
        covered = calls.conditions.get(COMMITMENT.name, "") if is_notional else ""
        category = "Committed" if covered else "Other" if is_notional else "Standard"
        row = {"PricingCategory": category}
        if covered:
            row |= self._commitment(covered, _NOTHING, "Used")
        what = f"Calls of {named(calls.place.model)}"
        if is_notional:
            what += ", paid by a subscription or a commitment"
        if calls.cost_status == "not_billed":
            yield row | _uncharged(calls, f"{what}: not billed")
        elif calls.is_unlisted:
            yield row | _uncharged(calls, f"{what}: nobody knows a list price")
        else:
            yield from (row | each for each in self._with_cost(calls, what))

    def _with_cost(self, calls: Calls, what: str) -> Iterator[Row]:
        is_notional = calls.cost_status == "notional"
        cost = calls.list_usd if is_notional else calls.cost_usd
        split = self._splitter.split(calls, cost)
        if split.reason:
            yield _whole(calls, f"{what}: not split by class, {split.reason}", cost)
        elif not split.parts:
            yield _uncharged(calls, f"{what} that used nothing")
        else:
            rounding = split.rounding
            largest = max(split.parts, key=lambda each: each.cost)
            for each in split.parts:
                billed = _NOTHING if is_notional else None
                if rounding and each is largest and not is_notional:
                    billed = EXACT.add(each.cost, rounding)
                yield _part(calls, each, what, billed)

    def _of_other(self, other: Other) -> Iterator[Row]:
        cost, model = other.cost_usd, other.place.model
        of_model = f" of {model}" if model else ""
        match other.entry_kind:
            case "commitment":
                yield from self._shares(other)
            case str(kind) if kind == IMPORTED:
                yield _imported(other, of_model)
            case str(kind) if kind == TRUE_UP:
                bill = other.source.removeprefix("bill:")
                item = f": {other.item}" if other.item else ""
                yield _adjustment(cost, f"True-up{of_model} to the bill {bill}{item}")
            case str(kind) if kind == PRIOR_PERIOD and other.closed_month:
                yield _adjustment(
                    cost, f"Correction{of_model} of {other.closed_month[:7]}, which is closed"
                ) | _of_closed_month(other)
            case str(kind) if kind == PRIOR_PERIOD:
                yield _adjustment(
                    cost,
                    f"What changed{of_model} after the month was closed, moved to"
                    f" {other.booked_in[:7]}",
                )
            case kind:
                raise ValueError(f"entries of the kind {kind!r} have no rows in FOCUS")

    def _shares(self, other: Other) -> Iterator[Row]:
        """Yield the purchase of a share of a commitment, and its use."""
        name, cost = other.price_id, other.cost_usd
        sku = Sku(named(other.place.provider), "", f"commitment/{name}").columns() | {
            "SkuMeter": "Commitment",
            "SkuPriceDetails": json_text({"x_Commitment": name}),
        }
        yield {
            **Prices(cost, USD, _ONE, _ONE, effective=_NOTHING).columns(),
            **sku,
            **self._commitment(name, cost, ""),
            "ChargeCategory": "Purchase",
            "ChargeDescription": f"Commitment {name}: share of the day",
            "ChargeFrequency": "Recurring",
            "PricingCategory": "Standard",
        }
        is_used = other.cost_status != "unused"
        yield {
            **Prices(cost, USD, _NOTHING, _NOTHING, effective=cost).columns(),
            **sku,
            **self._commitment(name, cost, "Used" if is_used else "Unused"),
            "ChargeCategory": "Usage",
            "ChargeDescription": f"Commitment {name}: {'used' if is_used else 'not used'}",
            "ChargeFrequency": "Usage-Based",
            "PricingCategory": "Committed",
            **(_consumed(cost, USD) if is_used else {}),
        }

    def _commitment(self, name: str, quantity: Decimal, status: str) -> Row:
        return {
            "CommitmentDiscountCategory": "Spend",
            "CommitmentDiscountId": name,
            "CommitmentDiscountName": name,
            "CommitmentDiscountQuantity": text(quantity),
            "CommitmentDiscountStatus": status,
            "CommitmentDiscountType": self._types.get(name, "commitment").title(),
            "CommitmentDiscountUnit": USD,
        }


def _part(calls: Calls, part: Part, what: str, billed: Decimal | None) -> Row:
    unit = unit_of(BY_NAME[part.meter])
    sku = _sku(calls, part.meter, part.above)
    return {
        **Prices(part.quantity, unit, part.usd, part.list_usd, billed).columns(),
        **sku,
        **_consumed(part.quantity, unit),
        "ChargeDescription": f"{what}: {sku['SkuMeter']}",
    }


def _whole(calls: Calls, description: str, cost: Decimal) -> Row:
    """Return the columns of calls that are not split: their cost is the priced amount."""
    paid = _NOTHING if calls.cost_status == "notional" else None
    return {
        **Prices(cost, USD, _ONE, _ONE, paid).columns(),
        **_sku(calls, "calls"),
        **_consumed_by(calls),
        "ChargeDescription": description,
    }


def _uncharged(calls: Calls, description: str) -> Row:
    """Return the columns of calls without a charge."""
    return {
        **Prices(Decimal(calls.calls), REQUESTS_UNIT, _NOTHING, _NOTHING).columns(),
        **_sku(calls, "calls_without_charge"),
        **_consumed_by(calls),
        "ChargeDescription": description,
    }


def _imported(other: Other, of_model: str) -> Row:
    place = other.place
    return {
        **Prices(other.cost_usd, USD, _ONE, _ONE).columns(),
        **Sku(named(place.provider), named(place.model), "imported").columns(),
        **(_consumed(Decimal(other.tokens), TOKENS) if other.tokens else _consumed(_ONE, DAYS)),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"Usage{of_model} that the provider reports and no call tells of",
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
    }


def _adjustment(cost: Decimal, description: str) -> Row:
    """Return the columns of a cost without a price."""
    names = ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost")
    return dict.fromkeys(names, text(cost)) | {
        "ChargeCategory": "Adjustment",
        "ChargeDescription": description,
        "ChargeFrequency": "One-Time",
    }


def _of_closed_month(other: Other) -> Row:
    """Return the columns of a correction: when what it corrects was incurred."""
    month = date.fromisoformat(f"{other.closed_month[:7]}-01")
    return {
        "ChargeClass": "Correction",
        "ChargePeriodStart": start_of(month),
        "ChargePeriodEnd": start_of(next_month(month)),
    }


def _consumed(amount: Decimal, unit: str) -> Row:
    return {"ConsumedQuantity": text(amount), "ConsumedUnit": unit}


def _consumed_by(calls: Calls) -> Row:
    tokens = calls.tokens["input_tokens"] + calls.tokens["output_tokens"]
    if tokens:
        return _consumed(Decimal(tokens), TOKENS)
    return _consumed(Decimal(calls.calls), REQUESTS_UNIT)


def _sku(calls: Calls, meter: str, above: int = -1) -> Row:
    place = calls.place
    conditions = tuple(calls.conditions.items()) if calls.conditions else ()
    return sku_columns(place.provider, place.model, meter, calls.service_tier, conditions, above)


def _place(day: date, place: Place) -> Row:
    """Return the columns that say when a cost arose, whose it is and where."""
    month, provider = day.replace(day=1), named(place.provider)
    tags = {
        "user_id": place.user_id,
        "agent_id": place.agent_id,
        "service_name": place.service_name,
    }
    return {
        "BillingAccountId": place.tenant or "default",
        "BillingCurrency": USD,
        "BillingPeriodStart": start_of(month),
        "BillingPeriodEnd": start_of(next_month(month)),
        "ChargePeriodStart": start_of(day),
        "ChargePeriodEnd": start_of(day + timedelta(days=1)),
        "HostProviderName": provider,
        "InvoiceId": invoice_id(provider, place.tenant, month),
        "InvoiceIssuerName": provider,
        "ResourceId": place.endpoint_id,
        "ResourceType": "Endpoint" if place.endpoint_id else "",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": provider,
        "ServiceProviderName": provider,
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": place.department,
        "SubAccountName": place.department,
        "Tags": json_text({name: value for name, value in tags.items() if value}),
    }


def _row(place: Row, charge: Row) -> Row:
    """Return the columns of both, and the line of the invoice that they are in."""
    line = f"{place['InvoiceId']}:{charge.get('ChargeCategory') or place['ChargeCategory']}"
    if "SkuId" in charge:
        line += f":{charge['SkuId']}"
    if "ChargeClass" in charge:
        line += f":{charge['ChargePeriodStart'][:7]}"
    return {**place, **charge, "InvoiceDetailId": line}


def invoice_id(provider: str, tenant: str, month: date) -> str:
    """Return how we name what a provider bills of a month."""
    return "/".join(filter(None, (provider, tenant, f"{month:%Y-%m}")))


def start_of(day: date) -> str:
    """Return when a day begins (UTC), as FOCUS writes it."""
    return f"{day.isoformat()}T00:00:00Z"
