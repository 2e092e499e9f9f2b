"""Where in a span each count, meter, condition and name was read from: for people to check."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import Any

from tallyspan.answer import amount
from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.dialects import values
from tallyspan_collector.dialects.plan import Plan
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import Span

NAMES = ("provider_name", "request_model", "response_model", "service_tier")
MAX_VARIANTS = 1_000
"""Variants of a span that are read again to find a place."""


def facts(call: Call) -> dict[str, Any]:
    """Return what decides the cost of a call, by name: counts, meters, conditions, names."""
    counts = {name: getattr(call.usage, name) for name in TOKEN_FIELDS}
    names = {name: getattr(call, name) for name in NAMES}
    return {
        **{name: count for name, count in counts.items() if count is not None},
        **call.meters,
        **call.conditions,
        **{name: value for name, value in names.items() if value},
    }


def read_from(span: Span, plan: Plan, read: Callable[[Span], Call | None]) -> dict[str, str]:
    """Return fact -> its attribute, or place in a blob (`attribute#path`), or several of them.

    What the tables of the dialect do not tell is worked out: the span is read again, each time
    without one of its places. `read` returns the call that a span is.
    """
    call = read(span)
    if call is None:
        return {}
    wanted = facts(call)
    places = {name: [key] for name, key in _by_tables(span, plan) if name in wanted}
    missing = wanted.keys() - places.keys()
    variants = islice(_without_each(span), MAX_VARIANTS) if missing else ()
    for place, variant in variants:
        other = read(variant)
        if other is not None:
            rest = facts(other)
            for name in missing:
                if rest.get(name) != wanted[name]:
                    places.setdefault(name, []).append(place)
    return {name: " and ".join(dict.fromkeys(keys)) for name, keys in places.items()}


def _by_tables(span: Span, plan: Plan) -> Iterator[tuple[str, str]]:
    attributes: dict[str, object] = {**span.attributes}
    for key in plan.blobs:
        attributes |= values.places(attributes.get(key), f"{key}#")
    if plan.dialect.count is None and not plan.added and not plan.cache_write_5m:
        for at, keys in plan.tokens:
            yield from _first(
                TOKEN_FIELDS[at], keys, lambda key: values.tokens(attributes.get(key))
            )
    pairs = [
        *((name, key, amount(attributes.get(key))) for key, name in plan.meters),
        *((name, key, values.text(attributes.get(key))) for key, name in plan.conditions),
    ]
    seen: set[str] = set()
    for name, key, value in pairs:
        if value and name not in seen:
            seen.add(name)
            yield name, key
    for name, keys in plan.texts:
        if name in NAMES:
            yield from _first(name, keys, lambda key: values.text(attributes.get(key)) or None)


def _first(
    name: str, keys: tuple[str, ...], value: Callable[[str], object | None]
) -> Iterator[tuple[str, str]]:
    key = next((key for key in keys if value(key) is not None), None)
    if key is not None:
        yield name, key


def _without_each(span: Span) -> Iterator[tuple[str, Span]]:
    """Yield each place of the span, and the span without it."""
    for key, value in span.attributes.items():
        content = values.parse(value) if isinstance(value, str) else value
        if isinstance(content, Mapping) and content:
            for path in _paths(content):
                text = json.dumps(_without(content, path))
                yield (
                    f"{key}#{'.'.join(path)}",
                    replace(span, attributes={**span.attributes, key: text}),
                )
        else:
            rest = {name: each for name, each in span.attributes.items() if name != key}
            yield key, replace(span, attributes=rest)


def _paths(content: Mapping[Any, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from ((str(key), *path) for path in _paths(value))
        else:
            yield (str(key),)


def _without(content: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
    copy = deepcopy(dict(content))
    inner: Any = copy
    for key in path[:-1]:
        inner = inner[key]
    inner.pop(path[-1], None)
    return copy
