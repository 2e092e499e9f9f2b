"""Anthropic's usage and cost reports (https://platform.claude.com/docs/en/api/admin).

Buckets are days in UTC, at most 31 a page. Amounts are cents as decimal text. The cache is beside
`uncached_input_tokens`, not in it. What the priority tier costs is not in the cost report.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tallyspan.conditions import BY_NAME
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.exchange import ONLY_USD, CurrencyError, Exchange, currency_name
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.errors import BillError

BASE = "https://api.anthropic.com"
KEY = "ANTHROPIC_ADMIN_KEY"
PROVIDERS = ("anthropic",)
_GROUPS = {"project": "workspace_id", "api_key": "api_key_id", "user": "account_id"}
_GEO = BY_NAME["geo"]
_LONG = "200k-1M"


def headers(key: str) -> dict[str, str]:
    """Return the headers that say who asks."""
    return {"x-api-key": key, "anthropic-version": "2023-06-01", "Accept": "application/json"}


def bill(
    api: Api,
    first: date,
    last: date,
    groups: Collection[str] = (),
    exchange: Exchange = ONLY_USD,
    usage_groups: Collection[str] = (),
) -> Iterator[Billed]:
    """Yield usage and costs of the days; `groups` are some of project, api_key and user.

    `usage_groups` are further ones of the usage alone; costs can be had by project alone. Raises
    `ConfigError` and `BillError`.
    """
    of_usage = dict.fromkeys((*groups, *usage_groups))
    by = ["model", "service_tier", "context_window", "inference_geo"]
    for bucket in api.buckets(
        "/v1/organizations/usage_report/messages",
        _ask(first, last, [*by, *(_GROUPS[name] for name in of_usage)]),
    ):
        yield from (_usage(bucket, result) for result in bucket["results"])
    by = ["description", *(["workspace_id"] if "project" in groups else [])]
    for bucket in api.buckets("/v1/organizations/cost_report", _ask(first, last, by)):
        yield from (_cost(bucket, result, exchange) for result in bucket["results"])


def _ask(first: date, last: date, by: list[str]) -> list[tuple[str, str]]:
    return [
        ("starting_at", f"{first}T00:00:00Z"),
        ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
        ("bucket_width", "1d"),
        ("limit", "31"),
        *(("group_by[]", name) for name in by),
    ]


def _usage(bucket: dict[str, Any], result: dict[str, Any]) -> Billed:
    return Billed(
        day=day_of(bucket),
        model=result.get("model") or "",
        project=result.get("workspace_id") or "",
        api_key=result.get("api_key_id") or "",
        user=result.get("account_id") or "",
        tier=result.get("service_tier") or "",
        item="" if result.get("model") else "(usage without a model)",
        conditions=conditions_of(result),
        is_long_context=result.get("context_window") == _LONG,
        **tokens_of(result),
    )


def tokens_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a line that count tokens, from counts with the cache beside them."""
    written = result.get("cache_creation") or {}
    hour = written.get("ephemeral_1h_input_tokens") or 0
    write = (written.get("ephemeral_5m_input_tokens") or 0) + hour
    read = result.get("cache_read_input_tokens") or 0
    return {
        "input_tokens": (result.get("uncached_input_tokens") or 0) + read + write,
        "output_tokens": result.get("output_tokens") or 0,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "meters": {"cache_write_1h_tokens": hour} if hour else {},
    }


def conditions_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what the price depends on beside model and tier."""
    geo = result.get("inference_geo")
    return {_GEO.name: geo} if geo and geo not in _GEO.standard else {}


def usd_of(result: Mapping[str, Any], day: date, exchange: Exchange = ONLY_USD) -> Decimal:
    """Return the amount of a line in USD; it is in cents. Raises `BillError`."""
    try:
        amount = Decimal(str(result["amount"])) / 100
        return exchange.usd(amount, result.get("currency") or "", day)
    except (KeyError, InvalidOperation):
        wrong = result.get("amount")
        raise BillError(f"an amount of the cost report is no number: {wrong!r}") from None
    except CurrencyError as error:
        raise BillError(str(error)) from None


def _cost(bucket: dict[str, Any], result: dict[str, Any], exchange: Exchange) -> Billed:
    day = day_of(bucket)
    return Billed(
        day=day,
        model=result.get("model") or "",
        project=result.get("workspace_id") or "",
        tier=result.get("service_tier") or "",
        item=result.get("description") or result.get("cost_type") or "(costs without a line)",
        cost_usd=usd_of(result, day, exchange),
        currency=currency_name(result.get("currency") or ""),
    )


def day_of(bucket: Mapping[str, Any], name: str = "starting_at") -> date:
    """Return the day (UTC) that a bucket or line begins with. Raises `BillError`."""
    try:
        return datetime.fromisoformat(bucket[name]).astimezone(UTC).date()
    except (KeyError, TypeError, ValueError):
        raise BillError(f"a line of Anthropic's answer has no {name}") from None
