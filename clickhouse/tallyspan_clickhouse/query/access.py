"""Whose rows a reader may see: the one place that writes the condition on department and tenant."""

from dataclasses import dataclass
from typing import Any

from tallyspan_clickhouse.schema import VIEWS

OWNERS = ("department", "tenant")
LIMITS = {view.name: view.limited_by for view in VIEWS}
"""View -> its columns that say whose a row is; without them its rows are of the organisation."""
OPEN = frozenset(view.name for view in VIEWS if view.is_open)
"""Views that have nothing of calls."""


def own_rows(view: str, alias: str = "") -> str:
    """Return the condition that leaves the rows of a view that a reader may see.

    Its parameters are `own_department` and `own_tenant`, each empty for a reader who may see all. A
    view without the column has rows of the whole organisation: who is limited sees none of them.
    One that has nothing of calls is for everybody. Raises KeyError for what is no view of the
    schema.
    """
    if view in OPEN:
        return "true"
    prefix = f"{alias}." if alias else ""
    parts = []
    for column in OWNERS:
        own = f"{{own_{column}:Array(String)}}"
        is_there = column in LIMITS[view]
        parts.append(
            f"(empty({own}) OR {prefix}{column} IN {own})" if is_there else f"empty({own})"
        )
    return " AND ".join(parts)


@dataclass(frozen=True, slots=True)
class Access:
    """What a reader may see: rows of these departments and tenants; empty: of every one."""

    departments: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether there is anything the reader may not see."""
        return bool(self.departments or self.tenants)

    def lets(self, department: str, tenant: str) -> bool:
        """Return whether the reader may see what belongs to these."""
        return all(
            not own or name in own
            for name, own in ((department, self.departments), (tenant, self.tenants))
        )

    def condition(self, view: str, alias: str = "") -> str:
        """Return the condition that every read of the view carries; `true` for who may see all."""
        condition = own_rows(view, alias)
        return condition if self.is_limited else "true"

    def parameters(self) -> dict[str, Any]:
        """Return the bound parameters of every condition."""
        if not self.is_limited:
            return {}
        return {"own_department": list(self.departments), "own_tenant": list(self.tenants)}


EVERYTHING = Access()
"""Of who may see all."""
