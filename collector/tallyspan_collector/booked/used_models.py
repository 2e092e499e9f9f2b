"""Which models were used, by whom, and what that cost."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.moments import microseconds, sql_moment

_QUERY = f"""
SELECT provider_name, model_name, if(department = '', user_id, department) AS payer,
    count() AS calls, sum(cost_usd) AS spend
FROM calls
WHERE start_time >= {sql_moment("start")}
GROUP BY provider_name, model_name, payer
ORDER BY spend DESC NULLS LAST, calls DESC, payer
"""  # noqa: S608  the moment is bound


@dataclass(slots=True)
class Use:
    """What calls of one model cost, in USD; `payers` are departments, or users without one."""

    provider: str
    model: str
    calls: int = 0
    spend_usd: Decimal = Decimal(0)
    payers: list[str] = field(default_factory=list)


def find(client: Client, start: datetime) -> Sequence[Use]:
    """Return the models used since a moment, the dearest first; payers the same."""
    uses: Mapping[tuple[str, str], Use]
    rows = client.query(_QUERY, parameters={"start": microseconds(start)}).result_rows
    uses = defaultdict(lambda: Use("", ""))
    for provider, model, payer, calls, spend in rows:
        use = uses[provider, model]
        use.provider, use.model = provider, model
        use.calls += calls
        use.spend_usd += spend or 0
        if payer:
            use.payers.append(payer)
    return sorted(uses.values(), key=lambda use: (-use.spend_usd, -use.calls, use.model))
