"""LibreChat's users and groups -> the directory: whom a user id is, and which department pays."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from clickhouse_connect.driver.client import Client

from tallyspan_collector.directory.file import MAX_CHARACTERS
from tallyspan_collector.directory.lookup import today
from tallyspan_collector.directory.period import ALWAYS, FURTHER_NOTICE, Period
from tallyspan_collector.directory.stored import Change, changes, stored, write
from tallyspan_collector.librechat.mongo import Document, Mongo
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.settings import DEPARTMENT, ID, LedgerImport
from tallyspan_collector.units.counts import counted


@dataclass(frozen=True, slots=True)
class People:
    """Changes of the directory; `notes` say what was decided on the way."""

    changes: Sequence[Change]
    notes: Sequence[str]


def update(
    client: Client, mongo: Mongo, what: LedgerImport, changed_by: str, *, is_applied: bool = True
) -> People:
    """Change the directory as `what.people` says, and return the changes.

    Raises as `Mongo`, and what the store raises.
    """
    if not what.people:
        return People((), ())
    people = people_of(mongo, what, stored(client), today())
    if is_applied:
        write(client, people.changes, changed_by, what.label)
    return people


def with_users(mongo: Mongo, what: LedgerImport, pairs: Sequence[Pair]) -> LedgerImport:
    """Return the import with the names by which spans call the users of these calls."""
    from bson import ObjectId

    if what.user_field == ID:
        return what
    users = sorted({pair.prompt.user for pair in pairs})
    numbers = [ObjectId(user) for user in users if ObjectId.is_valid(user)]
    fields = {
        str(user[ID]): what.user_named(what.name_of(user))
        for user in mongo.with_values("users", ID, numbers)
    }
    return replace(what, names={**fields, **what.names})


def people_of(mongo: Mongo, what: LedgerImport, existing: Sequence[Period], day: date) -> People:
    """Return what LibreChat's users change in the directory.

    Whom the directory does not have gets a name, and a group as the department, for all days. Of
    others the new name or department holds from the day on, and cost centres stay; without a group
    the department stays too. Who is not in LibreChat any more stays as they are. Raises as `Mongo`.
    """
    groups = _groups(mongo, what) if what.people == DEPARTMENT else {}
    before: dict[tuple[str, str], list[Period]] = defaultdict(list)
    for period in existing:
        before[period.person].append(period)
    new: list[Period] = []
    others: list[Period] = []
    several = 0
    for user in mongo.all("users"):
        tenant = what.tenant_named(_text(user, "tenantId"))
        names = _groups_of(user, tenant, groups)
        several += len(names) > 1
        person = (tenant, what.user_named(what.name_of(user)))
        department, name = (names or [""])[0], _name(user)
        if old := before.get(person):
            others.append(_changed(old, day, department, name))
        elif department or name:
            new.append(Period(*person, ALWAYS, FURTHER_NOTICE, department, "", name))
    notes = [f"{counted(several, 'user')} in several groups: the first by name pays"]
    return People([*changes(new, []), *changes(others, existing, day)], notes if several else [])


def _changed(old: Sequence[Period], day: date, department: str, name: str) -> Period:
    """Return the person's period from the day on."""
    current = next((each for each in old if each.valid_from <= day <= each.valid_to), old[-1])
    return replace(
        current,
        department=department or current.department,
        display_name=name or current.display_name,
    )


def _groups(mongo: Mongo, what: LedgerImport) -> Mapping[tuple[str, str], list[str]]:
    """Return the names of groups by tenant and member."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group in mongo.all("groups"):
        members = group.get("memberIds")
        tenant = what.tenant_named(_text(group, "tenantId"))
        if name := _text(group, "name"):
            for member in members if isinstance(members, list) else ():
                groups[tenant, str(member)].append(name)
    return groups


def _groups_of(
    user: Document, tenant: str, groups: Mapping[tuple[str, str], Iterable[str]]
) -> list[str]:
    """Return the names of a user's groups, each once; groups of a directory have its own ids."""
    ids = (str(user[ID]), _text(user, "idOnTheSource"))
    return sorted({name for each in ids if each for name in groups.get((tenant, each), ())})


def _name(user: Document) -> str:
    return next((text for key in ("name", "username", "email") if (text := _text(user, key))), "")


def _text(document: Document, name: str) -> str:
    """Return a field as the directory takes it: without control characters, of a bounded length."""
    value = document.get(name)
    text = value if isinstance(value, str) else ""
    return "".join(each for each in text if each.isprintable()).strip()[:MAX_CHARACTERS]
