"""GitHub Copilot's AI credits of an organisation (https://docs.github.com/rest/billing/usage).

One request a day: credits by model, priced before what a plan includes (`grossAmount`), which is
what spans of Copilot state too. The report does not tell users apart.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.pages import Api
from tallyspan_collector.errors import BillError

_PATH = "/organizations/{}/settings/billing/ai_credit/usage"
_AUTO = "auto: "


def headers(key: str) -> dict[str, str]:
    """Return the headers that say who asks."""
    return {
        "Authorization": f"Bearer {key}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "tallyspan",
    }


def bill(api: Api, first: date, last: date, organization: str) -> Iterator[Billed]:
    """Yield costs of the days by model. Raises `ConfigError` and `BillError`."""
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        parameters = [("year", str(day.year)), ("month", str(day.month)), ("day", str(day.day))]
        for item in api.items(_PATH.format(organization), parameters, "usageItems"):
            yield Billed(
                day=day,
                model=_model(str(item.get("model") or "")),
                item="" if item.get("model") else str(item.get("sku") or "(costs without a line)"),
                cost_usd=_amount(item),
            )


def _model(name: str) -> str:
    """Return the model as spans name it: `Auto: Claude Haiku 4.5` is claude-haiku-4.5."""
    low = name.lower().removeprefix(_AUTO)
    return "-".join(low.split())


def _amount(item: dict[str, Any]) -> Decimal:
    try:
        return Decimal(str(item["grossAmount"]))
    except (KeyError, InvalidOperation):
        raise BillError(f"a grossAmount is no number: {item.get('grossAmount')!r}") from None
