"""Whose a day of a commitment is, by the price file and the calls that the ledger has now."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from tallyspan.conditions import COMMITMENT
from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import microseconds, sql_moment
from tallyspan_collector.booked.shares import apportion
from tallyspan_collector.pricing.commitments import Commitment, Commits, Spread
from tallyspan_collector.pricing.match import Kind
from tallyspan_collector.pricing.rates import PriceFile

SEAT_DAYS = 30
"""A seat is used by who made a call on that day or on the days before it, so many in all."""
MINUTES = 24 * 60
UNUSED = "unused"
_STATUS = {Commits.PROVISIONED: "commitment", Commits.PLAN: "plan"}
_KIND = "c.provider_name, c.endpoint_id, c.model_name, c.service_tier, c.conditions"
_WITHIN = f"c.start_time >= {sql_moment('start')} AND c.start_time < {sql_moment('end')}"
_PLACE = (
    "tenant", "department", "user_id", "agent_id", "agent_name", "service_name", "source",
    "operation_name",
)  # fmt: skip
_USES = f"""
SELECT {_KIND}, {", ".join(f"c.{name}" for name in _PLACE)}, count() AS calls,
    sum(ifNull(c.input_tokens, 0)) AS input, sum(ifNull(c.output_tokens, 0)) AS output,
    sum(ifNull(c.notional_cost_usd, 0)) AS list_usd,
    countIf(c.notional_cost_usd IS NULL) AS unlisted
FROM calls AS c WHERE c.cost_status = 'notional' AND {_WITHIN} GROUP BY ALL
"""  # noqa: S608  own names, values are bound
_SEATS = f"""
SELECT {_KIND}, c.tenant, c.user_id, argMax(c.department, c.start_time) AS department,
    max(c.start_time) AS last
FROM calls AS c WHERE c.cost_status = 'notional' AND {_WITHIN}
GROUP BY {_KIND}, c.tenant, c.user_id
"""  # noqa: S608  own names, values are bound
_SPENT = f"""
SELECT {_KIND}, sum(ifNull(c.cost_usd, 0)) AS cost_usd
FROM calls AS c WHERE c.cost_status != 'notional' AND {_WITHIN} GROUP BY {_KIND}
"""  # noqa: S608  own names, values are bound


class Share(NamedTuple):
    """Whose a part of a commitment is, by columns of the ledger; `price_id` is the commitment.

    `cost_status`: commitment, plan or unused.
    """

    price_id: str
    cost_status: str
    tenant: str = ""
    department: str = ""
    user_id: str = ""
    agent_id: str = ""
    agent_name: str = ""
    service_name: str = ""
    source: str = ""
    operation_name: str = ""
    provider_name: str = ""
    endpoint_id: str = ""
    model_name: str = ""


SHARE_COLUMNS = Share._fields


class Use(NamedTuple):
    """What calls of one kind and place used on a day; `unlisted`: calls without a list price."""

    kind: Kind
    place: Mapping[str, str]
    calls: int
    input_tokens: int
    output_tokens: int
    list_usd: Decimal
    unlisted: int


def shares_due(client: Client, file: PriceFile, day: date) -> dict[Share, int]:
    """Return the shares of all commitments of a day (UTC), in pico-dollars; none is 0.

    Those of a commitment add up to its cost of the day. What the store raises.
    """
    due: defaultdict[Share, int] = defaultdict(int)
    uses: list[Use] | None = None
    for lines in _by_name(file.commitments):
        rule = lines[-1]
        least = sum(each.least_picousd(day, file) for each in lines)
        amount = sum(each.cost_picousd(day, file) for each in lines)
        if least:
            amount = max(least - _spent(client, file, rule, day), 0)
        if not amount:
            continue
        held = [each for each in lines if each.seconds_of(day)]
        rule = held[-1] if held else rule
        weights = {_unused(rule): Fraction(1)}
        if rule.kind is not Commits.MINIMUM:
            if uses is None:
                uses = _uses(client, day)
            weights = _weights(client, file, rule, held, uses, day)
        for share, part in apportion(amount, weights).items():
            if part:
                due[share] += part
    return dict(due)


def _by_name(commitments: Iterable[Commitment]) -> list[list[Commitment]]:
    """Return the lines of each name, in the order of their times."""
    names: dict[str, list[Commitment]] = {}
    for each in sorted(commitments, key=lambda each: (each.name, each.match.from_ns)):
        names.setdefault(each.name, []).append(each)
    return [*names.values()]


def _unused(rule: Commitment) -> Share:
    return Share(rule.name, UNUSED, department=rule.department, **rule.place)


def _weights(
    client: Client,
    file: PriceFile,
    rule: Commitment,
    held: Sequence[Commitment],
    uses: Sequence[Use],
    day: date,
) -> dict[Share, Fraction]:
    """Return what part of the day is whose, in proportion."""
    status = _STATUS[rule.kind]
    if rule.spread is Spread.NONE:
        return {Share(rule.name, status, department=rule.department, **rule.place): Fraction(1)}
    if rule.spread is Spread.SEATS:
        users = _seats(client, file, rule, day)
        seats = {share: Fraction(1) for share in users}
        free = max(sum(each.units for each in held[-1:]) - len(users), 0)
        return seats | {_unused(rule): Fraction(free)}
    own = [each for each in uses if _is_of(file, rule, each.kind)]
    by_share: defaultdict[Share, Fraction] = defaultdict(Fraction)
    for use, weight in zip(own, _by_use(rule.spread, own), strict=True):
        kind = use.kind
        share = Share(
            rule.name, status, **use.place, provider_name=kind.provider,
            endpoint_id=kind.endpoint, model_name=kind.model,
        )  # fmt: skip
        by_share[share] += weight
    total = sum(by_share.values(), Fraction(0))
    if not total:
        return {_unused(rule): Fraction(1)}
    used = min(_utilisation(held, own, day), Fraction(1))
    shares = {share: weight * used / total for share, weight in by_share.items()}
    return shares | {_unused(rule): 1 - used}


def _by_use(spread: Spread, uses: Sequence[Use]) -> list[Fraction]:
    """Return the weight of each use: its list cost if all have one, else tokens, else calls."""
    if spread is Spread.LIST_COST and not any(each.unlisted for each in uses):
        weights = [Fraction(each.list_usd) for each in uses]
        if any(weights):
            return weights
    weights = [Fraction(each.input_tokens + each.output_tokens) for each in uses]
    return weights if any(weights) else [Fraction(each.calls) for each in uses]


def _utilisation(held: Sequence[Commitment], uses: Sequence[Use], day: date) -> Fraction:
    """Return tokens of the day as a part of what the commitment takes; 1 if that is not known."""
    used = {
        "input": sum(each.input_tokens for each in uses),
        "output": sum(each.output_tokens for each in uses),
    }
    part = Fraction(0)
    for name, tokens in used.items():
        takes = sum(
            (Fraction(each.capacity.get(name, 0) * each.units * each.seconds_of(day), 60)
             for each in held),
            Fraction(0),
        )  # fmt: skip
        part += tokens / takes if takes else 0
    return part if any(each.capacity for each in held) else Fraction(1)


def _is_of(file: PriceFile, rule: Commitment, kind: Kind) -> bool:
    """Whether calls that are not billed one by one use the commitment."""
    by = kind.value(COMMITMENT.name)
    if rule.kind is Commits.PROVISIONED:
        return by == rule.name
    return by == "none" and rule.is_for(file.with_settings(kind))


def _uses(client: Client, day: date) -> list[Use]:
    rows = tuples_of(client, _USES, _bounds(day))
    size = len(Kind.__dataclass_fields__)
    return [
        Use(
            _kind(row),
            dict(zip(_PLACE, map(str, row[size:]), strict=False)),
            *row[size + len(_PLACE) :],
        )
        for row in rows
    ]


def _seats(client: Client, file: PriceFile, rule: Commitment, day: date) -> set[Share]:
    """Return the share of each user of a plan, under the department of the latest call."""
    latest: dict[tuple[str, str], tuple[datetime, Share]] = {}
    for row in tuples_of(client, _SEATS, _bounds(day, SEAT_DAYS)):
        *_, tenant, user, department, last = row
        if _is_of(file, rule, _kind(row)):
            share = Share(
                rule.name, _STATUS[rule.kind], str(tenant), str(department), str(user), **rule.place
            )
            before = latest.get((tenant, user))
            if before is None or before < (last, share):
                latest[tenant, user] = (last, share)
    return {share for _, share in latest.values()}


def _spent(client: Client, file: PriceFile, rule: Commitment, day: date) -> int:
    """Return what calls of the month that ends with the day were billed, in pico-dollars."""
    rows = tuples_of(client, _SPENT, _bounds(day, day.day))
    return sum(
        int(row[-1].scaleb(12)) for row in rows if rule.is_for(file.with_settings(_kind(row)))
    )


def _kind(row: Sequence[Any]) -> Kind:
    provider, endpoint, model, tier, conditions, *_ = row
    return Kind.of(str(provider), str(endpoint), str(model), str(tier), conditions)


def _bounds(day: date, days: int = 1) -> dict[str, int]:
    """Return the parameters of so many days, the last of which is `day`."""
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    return {"start": microseconds(end - timedelta(days=days)), "end": microseconds(end)}
