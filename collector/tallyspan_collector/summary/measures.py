"""What is added up, and how: over calls, over rollups that are added up already, and over both."""

from collections.abc import Mapping

# It is counted how many calls state a thing: where nobody did, or nothing is priced, is not 0.
PARTS: Mapping[str, str] = {
    "calls": "count()",
    "errors": "countIf(c.status = 'error')",
    "unpriced_calls": "countIf(c.cost_status = 'unpriced')",
    "unpriced_tokens": "sumIf(c.total_tokens, c.cost_status = 'unpriced')",
    "estimated_calls": "countIf(c.usage_source = 'estimated')",
    "unknown_usage_calls": "countIf(c.usage_source = 'unknown')",
    "notional_calls": "countIf(c.cost_status = 'notional')",
    "flagged_calls": "countIf(notEmpty(c.quality_flags))",
    "cost_usd": "sum(c.cost_usd)",
    "notional_cost_usd": "sum(c.notional_cost_usd)",
} | {
    name: text
    for count in ("input", "output", "cache_read", "cache_write", "reasoning")
    for name, text in (
        (f"{count}_tokens", f"sum(c.{count}_tokens)"),
        (f"{count}_stated", f"countIf(c.{count}_tokens IS NOT NULL)"),
    )
}


def _tokens(count: str) -> str:
    return f"if(sum(p.{count}_stated) = 0, NULL, sum(p.{count}_tokens))"


MEASURE_TEXT: Mapping[str, str] = {
    "calls": "sum(p.calls)",
    "errors": "sum(p.errors)",
    "input_tokens": _tokens("input"),
    "output_tokens": _tokens("output"),
    "total_tokens": "if(sum(p.input_stated) = 0 AND sum(p.output_stated) = 0, NULL,"
    " sum(p.input_tokens) + sum(p.output_tokens))",
    "cache_read_tokens": _tokens("cache_read"),
    "cache_write_tokens": _tokens("cache_write"),
    "reasoning_tokens": _tokens("reasoning"),
    "cost_usd": "if(sum(p.calls) = sum(p.unpriced_calls), NULL, sum(p.cost_usd))",
    "priced_calls": "sum(p.calls) - sum(p.unpriced_calls) - sum(p.notional_calls)",
    "unpriced_calls": "sum(p.unpriced_calls)",
    "unpriced_tokens": "sum(p.unpriced_tokens)",
    "estimated_calls": "sum(p.estimated_calls)",
    "unknown_usage_calls": "sum(p.unknown_usage_calls)",
    "notional_calls": "sum(p.notional_calls)",
    "notional_cost_usd": "if(sum(p.notional_calls) = 0, NULL, sum(p.notional_cost_usd))",
    "flagged_calls": "sum(p.flagged_calls)",
}
MEASURE_SAYS: Mapping[str, str] = {
    "calls": "calls, net of duplicates",
    "errors": "those of them that failed",
    "input_tokens": "prompt tokens, cache included; null: nobody stated them",
    "output_tokens": "generated tokens, reasoning included; null: nobody stated them",
    "total_tokens": "input_tokens + output_tokens; null: nobody stated them",
    "cache_read_tokens": "part of input_tokens read from the provider's cache",
    "cache_write_tokens": "part of input_tokens written to the provider's cache",
    "reasoning_tokens": "part of output_tokens spent on reasoning",
    "cost_usd": "billed cost in USD of the calls that have one; null: none of them is priced",
    "priced_calls": "calls with a billed cost; what a provider refused costs 0 and is among them",
    "unpriced_calls": "calls that should have a cost and have none: they lack in cost_usd",
    "unpriced_tokens": "tokens of the calls without a price",
    "estimated_calls": "calls whose tokens, and so whose cost, are an estimate",
    "unknown_usage_calls": "calls whose tokens nobody knows",
    "notional_calls": "calls on a subscription: used, not billed",
    "notional_cost_usd": "what those would have cost in USD; no part of cost_usd; null: none",
    "flagged_calls": "calls that something is doubtful about",
}
MEASURES: tuple[str, ...] = tuple(MEASURE_TEXT)


def measures() -> str:
    """Return the columns of the measures over the union of parts `p`."""
    return ", ".join(f"{text} AS {name}" for name, text in MEASURE_TEXT.items())
