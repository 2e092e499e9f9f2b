"""What can be asked of the ledger: dimensions to filter and group by, buckets of time, orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tallyspan_collector.summary.errors import RequestError


@dataclass(slots=True, frozen=True)
class Dimension:
    """Something calls are told apart by: its name as a group, as a filter, and its column."""

    group: str
    filter: str
    column: str
    says: str
    values: tuple[str, ...] = ()


DIMENSIONS = (
    Dimension("user", "user_id", "user_id", "whom the call was made for"),
    Dimension("department", "department", "department", "department that pays"),
    Dimension("agent", "agent_id", "agent_id", "agent or assistant that made the call"),
    Dimension("conversation", "conversation_id", "conversation_id", "conversation it belongs to"),
    Dimension("model", "model", "model_name", "model used, as the provider names it"),
    Dimension("endpoint", "endpoint_id", "endpoint_id", "endpoint the call went to"),
    Dimension("provider", "provider", "provider_name", "provider: openai, anthropic, ..."),
    Dimension("service", "service", "service_name", "service.name of the emitting service"),
    Dimension("source", "source", "source", "name of the ingest key that delivered the call"),
    Dimension("tenant", "tenant", "tenant", "organisation the call belongs to"),
    Dimension("operation", "operation", "operation_name", "chat, embeddings, ..."),
    Dimension("service_tier", "service_tier", "service_tier", "tier the provider served"),
    Dimension("status", "status", "status", "how the call ended", ("ok", "error")),
    Dimension("error_type", "error_type", "error_type", "HTTP status or exception; '' when ok"),
    Dimension(
        "usage_source",
        "usage_source",
        "usage_source",
        "where the token counts come from",
        ("provider", "estimated", "unknown", "deferred"),
    ),
    Dimension(
        "cost_status",
        "cost_status",
        "cost_status",
        "whether there is a cost, and whose",
        ("priced", "reported", "unpriced", "not_billed", "notional"),
    ),
)
COLUMNS: Mapping[str, str] = {each.group: each.column for each in DIMENSIONS}
FILTERS: tuple[str, ...] = tuple(each.filter for each in DIMENSIONS)
BUCKETS = ("hour", "day", "week", "month")
GROUPS: tuple[str, ...] = (*COLUMNS, *BUCKETS)
TAG = "tag:"
MOST_GROUPS = 6
MOST_TAGS = 10
ORDERS: Mapping[str, str] = {
    "cost": "cost_usd",
    "tokens": "total_tokens",
    "calls": "calls",
    "errors": "errors",
    "group": "",
}
DIRECTIONS = ("asc", "desc")


@dataclass(slots=True, frozen=True)
class Filters:
    """Which calls are meant. None: any; the empty string: those where nobody said.

    `start` is included, `end` is not; both are aware UTC. `tags` all have to be there;
    `departments` are all a reader may see, empty: every one. Raises RequestError if start >= end.
    """

    user_id: str | None = None
    department: str | None = None
    agent_id: str | None = None
    conversation_id: str | None = None
    model: str | None = None
    endpoint_id: str | None = None
    provider: str | None = None
    service: str | None = None
    source: str | None = None
    tenant: str | None = None
    operation: str | None = None
    service_tier: str | None = None
    status: str | None = None
    error_type: str | None = None
    usage_source: str | None = None
    cost_status: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    departments: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise RequestError(
                "start_date must be before end_date:"
                f" {self.start.isoformat()} is not before {self.end.isoformat()}"
            )

    def columns(self) -> set[str]:
        """Return the columns of calls the filters look at, but for the time."""
        asked = {each.column for each in DIMENSIONS if getattr(self, each.filter) is not None}
        return asked | ({"department"} if self.departments else set()) | self._of_tags()

    def _of_tags(self) -> set[str]:
        return {"tags"} if self.tags else set()


def check_groups(group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the names as they are. Raises RequestError for none, unknown ones and repetitions."""
    groups = tuple(group_by)
    unknown = [name for name in groups if name not in GROUPS and not is_tag(name)]
    if unknown or not groups or len(set(groups)) != len(groups) or len(groups) > MOST_GROUPS:
        given = repr(",".join(groups)[:80])
        raise RequestError(
            f"group_by must be one or several different ones of {', '.join(GROUPS)}, or"
            f" {TAG}<key>, {MOST_GROUPS} at most, not {given}"
        )
    return groups


def is_tag(group: str) -> bool:
    """Return whether the group is that of a free tag: `tag:<key>`."""
    return group.startswith(TAG) and len(group) > len(TAG)


def check_order(order: str, direction: str | None) -> tuple[str, str]:
    """Return order and direction; most first and groups as the alphabet has them by default."""
    if order not in ORDERS:
        raise RequestError(f"order must be one of {', '.join(ORDERS)}, not {order[:60]!r}")
    if direction is None:
        return order, "asc" if order == "group" else "desc"
    if direction not in DIRECTIONS:
        raise RequestError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r}")
    return order, direction
