"""OpenRouter's activity (https://openrouter.ai/docs/api/api-reference/analytics/get-user-activity).

One request a day (UTC), and a key if lines are wanted by key; it has the last 30 days, and answers
for older ones with an error. Completion tokens include reasoning. With a key of one's own (BYOK)
`usage` is OpenRouter's fee and `byok_usage_inference` what the other provider bills: the ledger
has both as the cost of the call, and so has a line.
"""

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.openai import headers
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.errors import BillError

__all__ = ["BASE", "KEY", "PROVIDERS", "bill", "headers"]

BASE = "https://openrouter.ai"
KEY = "OPENROUTER_MANAGEMENT_KEY"
PROVIDERS = ("openrouter",)
WANTED_KEY = "a management key of OpenRouter, not one for calls"
_ACTIVITY, _KEYS = "/api/v1/activity", "/api/v1/keys"
_KEYS_A_PAGE = 100


def bill(api: Api, first: date, last: date, groups: Collection[str] = ()) -> Iterator[Billed]:
    """Yield usage and costs of the days; `groups` may have api_key, by the names of keys.

    Raises `ConfigError` and `BillError`.
    """
    keys = list(_keys(api)) if "api_key" in groups else [("", "")]
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for digest, name in keys:
            of_key = [("api_key_hash", digest)] if digest else []
            for item in api.items(_ACTIVITY, [("date", day.isoformat()), *of_key]):
                yield _line(day, item, name)


def _keys(api: Api) -> Iterator[tuple[str, str]]:
    """Yield hash and name of every key."""
    seen = 0
    while True:
        page = list(api.items(_KEYS, [("offset", str(seen)), ("include_disabled", "true")]))
        yield from ((str(key["hash"]), str(key.get("name") or key["hash"])) for key in page)
        seen += len(page)
        if len(page) < _KEYS_A_PAGE:
            return


def _line(day: date, item: dict[str, Any], key: str) -> Billed:
    if str(item.get("date", day))[:10] != day.isoformat():
        raise BillError(f"OpenRouter answered of {item['date']} when asked for {day}")
    model = str(item.get("model") or "")
    return Billed(
        day=day,
        model=model,
        api_key=key,
        item="" if model else "(usage without a model)",
        requests=item.get("requests"),
        input_tokens=item.get("prompt_tokens"),
        output_tokens=item.get("completion_tokens"),
        cost_usd=_usd(item, "usage") + _usd(item, "byok_usage_inference"),
    )


def _usd(item: dict[str, Any], name: str) -> Decimal:
    try:
        return Decimal(str(item.get(name) or 0))
    except InvalidOperation:
        raise BillError(f"{name} of OpenRouter's activity is no number: {item[name]!r}") from None
