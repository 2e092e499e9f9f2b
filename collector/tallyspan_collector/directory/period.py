"""A span of days in which a user belongs to a department."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

ALWAYS = date(1970, 1, 1)
"""First day of a period without a beginning."""
FURTHER_NOTICE = date(2299, 12, 31)
"""Last day of a period without an end."""


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """Days are UTC; `valid_from` and `valid_to` are both included."""

    tenant: str
    user_id: str
    valid_from: date
    valid_to: date
    department: str
    cost_centre: str = ""
    display_name: str = ""

    @property
    def person(self) -> tuple[str, str]:
        """Whom it is about."""
        return self.tenant, self.user_id

    @property
    def content(self) -> tuple[str, str, str]:
        """What it says of the user, without the days."""
        return self.department, self.cost_centre, self.display_name

    def overlaps(self, other: "Period") -> bool:
        """Whether both hold on some day."""
        return self.valid_from <= other.valid_to and other.valid_from <= self.valid_to


def from_day(new: Period, existing: list[Period], first: date) -> list[Period]:
    """Return the person's periods when `new` holds from `first` on, and earlier days stay.

    A period with the same content stays as it is, so that the same list twice changes nothing.
    """
    kept = [
        replace(each, valid_to=min(each.valid_to, first - timedelta(days=1)))
        for each in existing
        if each.valid_from < first
    ]
    last = next((each for each in existing if each.valid_from <= first <= each.valid_to), None)
    if last is not None and last.content == new.content:
        kept = [each for each in kept if each.valid_from != last.valid_from]
        return [*kept, replace(last, valid_to=FURTHER_NOTICE)]
    return [*kept, replace(new, valid_from=first, valid_to=FURTHER_NOTICE)]
