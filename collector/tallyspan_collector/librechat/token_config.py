"""Our prices as the `tokenConfig` of LibreChat's custom endpoints, so that its gauge shows them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.librechat.check.settings import Config
from tallyspan_collector.pricing import listing
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Unpriced
from tallyspan_collector.pricing.steps import day

RATES: Mapping[str, str] = {
    "input": "prompt",
    "output": "completion",
    "cache_read": "cacheRead",
    "cache_write": "cacheWrite",
}
"""Our name of a price of tokens -> LibreChat's; both are USD for a million."""
_OWN_PROVIDERS = {"openrouter", "deepseek", "xai", "moonshot"}
"""Custom endpoints with such a name are that provider to LibreChat; all others are openai."""
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_MODELS = ("titleModel", "summaryModel")


@dataclass(frozen=True, slots=True)
class Models:
    """Models beside those that `librechat.yaml` names, and tokens of contexts that nobody knows."""

    more: Sequence[str] = ()
    contexts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenConfigs:
    """What to write into `librechat.yaml`, as YAML, and why some models are comments in it."""

    text: str
    missing: Sequence[str]


def token_configs(
    config: Config, book: PriceBook, at_ns: int, models: Models = Models()
) -> TokenConfigs:
    """Return the prices of a moment for the models of every custom endpoint.

    Prices are those that the calls of the endpoint are booked with: by its name, the model as it
    is asked for, the standard tier. LibreChat refuses a file with an entry that lacks price or
    context, or with a tokenConfig without entries: such are comments.
    """
    lines = [
        f"# USD for a million tokens on {day(at_ns)}, of {book.data.source} and the price file;",
        "# the standard tier: calls of tiers such as flex, priority or batch cost otherwise.",
        "endpoints:",
        "  custom:",
    ]
    missing: list[str] = []
    for _, endpoint in config.custom_endpoints():
        name = str(endpoint.get("name") or "")
        lines.append(f"    - name: {_quoted(name)}")
        if isinstance(endpoint.get("models"), dict) and endpoint["models"].get("fetch"):
            lines.append("      # fetches its models: name others with --model")
        names = dict.fromkeys((*_models(endpoint), *models.more))
        entries = [_entry(endpoint, name, model, book, at_ns, models) for model in names]
        is_empty = all(each.reason for each in entries)
        lines.append("      # tokenConfig:" if is_empty else "      tokenConfig:")
        lines += [line for each in entries for line in each.lines]
        missing += [f"{name}: {each.model}: {each.reason}" for each in entries if each.reason]
    return TokenConfigs("".join(f"{line}\n" for line in lines), missing)


def _models(endpoint: Mapping[str, Any]) -> Iterator[str]:
    models = endpoint.get("models")
    listed = models.get("default") if isinstance(models, dict) else None
    for each in listed if isinstance(listed, list) else ():
        name = each.get("name") if isinstance(each, dict) else each
        if name:
            yield str(name)
    configs = endpoint.get("tokenConfig")
    if isinstance(configs, dict):
        yield from map(str, configs)
    for key in _MODELS:
        if endpoint.get(key) not in {None, "", "current_model"}:
            yield str(endpoint[key])


class _Entry(NamedTuple):
    """The lines of a model; with a reason they are comments."""

    model: str
    lines: Sequence[str]
    reason: str = ""


def _entry(
    endpoint: Mapping[str, Any],
    name: str,
    model: str,
    book: PriceBook,
    at_ns: int,
    models: Models,
) -> _Entry:
    lower = name.lower()
    seller, _ = provider(lower if lower in _OWN_PROVIDERS else "openai", "", model)
    price = book.quote(seller, name, model, "", at_ns)
    rows = [] if isinstance(price, Unpriced) else listing.rows(price)
    by_context: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["class"] in RATES:
            usd = row["USD"].removesuffix("/M")
            by_context.setdefault(row["context"], {})[RATES[row["class"]]] = usd
    first, *others = by_context.items() or [("", {})]
    if isinstance(price, Unpriced) or not {"prompt", "completion"} <= set(first[1]):
        reason = price.reason.value if isinstance(price, Unpriced) else "no price of tokens"
        return _Entry(model, [f"        # {_quoted(model)}: {reason}: 6 USD to LibreChat"], reason)
    context = _context(endpoint, seller, model, book) or models.contexts.get(model)
    lines = [f"{_quoted(model)}:", *(f"  {key}: {usd}" for key, usd in first[1].items())]
    lines.append(f"  context: {context or '<tokens>'}")
    for above, rates in others:
        usd_of = ", ".join(f"{key} {usd}" for key, usd in rates.items())
        lines.append(f"  # {above}: {usd_of}")
    if price.flags:
        lines.append(f"  # doubtful: {', '.join(price.flags)}")
    if context:
        return _Entry(model, [f"        {line}" for line in lines])
    reason = "its context is not known: --context MODEL=TOKENS"
    return _Entry(model, [f"        # {line}" for line in lines], reason)


def _context(endpoint: Mapping[str, Any], seller: str, model: str, book: PriceBook) -> int | None:
    """Return the tokens of the context: as the file has it, else as the price data has it."""
    configs = endpoint.get("tokenConfig")
    own = configs.get(model) if isinstance(configs, dict) else None
    if isinstance(own, dict) and isinstance(own.get("context"), int):
        return int(own["context"])
    match = book.data.find(seller, model)
    return match[1].context_window if match else None


def _quoted(text: str) -> str:
    """Return the text as a YAML scalar that is text."""
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if is_plain else yaml.safe_dump(text, default_style='"', width=1 << 20).strip()
