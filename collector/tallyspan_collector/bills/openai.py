"""OpenAI's usage and costs APIs (https://platform.openai.com/docs/api-reference/usage).

Buckets are days in UTC. A page has at most 31 of them from usage and 180 from costs. `input_tokens`
include cached and cache-write tokens. Costs say the model in the name of the line:
`priority | gpt-5.6-sol, cached input`.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.days import day_of
from tallyspan_collector.bills.exchange import ONLY_USD, CurrencyError, Exchange, currency_name
from tallyspan_collector.bills.pages import Api, NotThereError
from tallyspan_collector.errors import BillError, ConfigError

BASE = "https://api.openai.com"
KEY = "OPENAI_ADMIN_KEY"
PROVIDERS = ("openai",)
USAGE = (
    "completions",
    "embeddings",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "decisions",
)
"""What has a model and is billed; moderations are free. An organisation may not have the last."""
_LINE = re.compile(r"(?:(?P<tier>[\w-]+) \| )?(?P<model>[\w.:@/-]+)(?: \w+)?, \w.*")
_GROUPS = {"project": "project_id", "api_key": "api_key_id", "user": "user_id"}
_OPERATIONS = {"completions": "chat", "embeddings": "embeddings", "images": "image_generation"}
_UNITS = {"images": "images", "audio_speeches": "characters", "audio_transcriptions": "seconds"}
_PARTS = {
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
    "input_cached_audio_tokens": "cache_read_audio_tokens",
    "input_cached_image_tokens": "cache_read_image_tokens",
    "input_cache_write_12h_tokens": "cache_write_12h_tokens",
}
"""Parts of the tokens as the API names them -> the meters."""


def headers(key: str) -> dict[str, str]:
    """Return the headers that say who asks."""
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def bill(
    api: Api,
    first: date,
    last: date,
    groups: Collection[str] = (),
    exchange: Exchange = ONLY_USD,
    usage_groups: Collection[str] = (),
) -> Iterator[Billed]:
    """Yield usage and costs of the days; `groups` are some of project, api_key and user.

    `usage_groups` are further ones of the usage alone. Raises `ConfigError` and `BillError`.
    """
    grouped = [_GROUPS[name] for name in groups]
    of_usage = [_GROUPS[name] for name in dict.fromkeys((*groups, *usage_groups))]
    for kind in USAGE:
        by = ["model", *(["service_tier", "batch"] if kind == "completions" else []), *of_usage]
        try:
            for bucket in api.buckets(f"/v1/organization/usage/{kind}", _ask(first, last, 31, by)):
                yield from (_usage(kind, bucket, result) for result in bucket["results"])
        except NotThereError:
            if kind == "completions":
                raise
    for bucket in api.buckets(
        "/v1/organization/costs", _ask(first, last, 180, ["line_item", *grouped])
    ):
        yield from (_cost(bucket, result, exchange) for result in bucket["results"])


def report(api: Api, first: date, last: date) -> Iterator[Billed]:
    """Yield usage and costs by project, key and user; users by their e-mail address.

    Where the key may not read who is in the organisation, and of who has left it, ids stay ids.
    """
    lines = list(bill(api, first, last, tuple(_GROUPS)))
    emails: dict[str, str] = {}
    if any(line.user for line in lines):
        with suppress(ConfigError, NotThereError):
            emails = {
                str(user["id"]): str(user["email"])
                for user in api.items(
                    "/v1/organization/users", [("limit", "100")], cursor=("after", "last_id")
                )
                if user.get("id") and user.get("email")
            }
    yield from (replace(line, user=emails.get(line.user, line.user)) for line in lines)


def _ask(first: date, last: date, limit: int, by: list[str]) -> list[tuple[str, str]]:
    return [
        ("start_time", str(_second(first))),
        ("end_time", str(_second(last + timedelta(days=1)))),
        ("bucket_width", "1d"),
        ("limit", str(limit)),
        *(("group_by[]", name) for name in by),
    ]


def _second(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _usage(kind: str, bucket: dict[str, Any], result: dict[str, Any]) -> Billed:
    parts = {meter: result.get(name) for name, meter in _PARTS.items()}
    if kind in _UNITS:
        parts[_UNITS[kind]] = result.get(_UNITS[kind])
    tier = "batch" if result.get("batch") else result.get("service_tier") or ""
    return Billed(
        day=_day(bucket),
        model=result.get("model") or "",
        project=result.get("project_id") or "",
        api_key=result.get("api_key_id") or "",
        user=result.get("user_id") or "",
        tier=tier,
        operation=_OPERATIONS.get(kind, ""),
        meters={meter: int(count) for meter, count in parts.items() if count},
        item="" if result.get("model") else "(usage without a model)",
        requests=result.get("num_model_requests"),
        input_tokens=result.get("input_tokens"),
        output_tokens=result.get("output_tokens"),
        cache_read_tokens=result.get("input_cached_tokens"),
        cache_write_tokens=result.get("input_cache_write_tokens"),
    )


def _cost(bucket: dict[str, Any], result: dict[str, Any], exchange: Exchange) -> Billed:
    amount = result.get("amount") or {}
    item = result.get("line_item") or ""
    model, tier = model_of(item)
    day = _day(bucket)
    currency = amount.get("currency") or ""
    try:
        cost = exchange.usd(Decimal(str(amount.get("value") or 0)), currency, day)
    except CurrencyError as error:
        raise BillError(str(error)) from None
    return Billed(
        day=day,
        model=model,
        project=result.get("project_id") or "",
        api_key=result.get("api_key_id") or "",
        user=result.get("user_id") or "",
        tier=tier,
        item=item or "(costs without a line)",
        cost_usd=cost,
        currency=currency_name(currency),
    )


def model_of(line: str) -> tuple[str, str]:
    """Return model and tier that a line of the costs names; empty where it names none."""
    match = _LINE.fullmatch(line)
    return (match["model"], (match["tier"] or "").lower()) if match else ("", "")


def _day(bucket: dict[str, Any]) -> date:
    try:
        start = str(int(bucket["start_time"]))
        return day_of(start, end=str(bucket.get("end_time") or ""))
    except KeyError:
        raise BillError("a bucket of OpenAI's answer has no start_time") from None
    except (TypeError, ValueError) as error:
        raise BillError(f"a bucket of OpenAI's answer: start_time {error}") from None
