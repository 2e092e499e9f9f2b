"""What some calls add up to, of the view `calls`: for questions about few of them."""

SUMS = """
    min(c.start_time) AS first_call, max(c.start_time) AS last_call, toInt64(count()) AS calls,
    toInt64(countIf(c.status = 'error')) AS errors,
    sum(c.input_tokens) AS input_tokens, sum(c.output_tokens) AS output_tokens,
    sum(c.total_tokens) AS total_tokens, sum(c.cost_usd) AS cost_usd,
    toInt64(countIf(c.cost_status = 'unpriced')) AS unpriced_calls,
    sum(c.notional_cost_usd) AS notional_cost_usd
"""
"""SQL over `calls AS c`; costs are NULL where no call has one."""
