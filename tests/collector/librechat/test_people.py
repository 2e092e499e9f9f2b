"""LibreChat's users and groups in the directory, and users by the name that spans call them."""

from datetime import date

from bson import ObjectId

from librechat_bench import Bench
from librechat_ledger import USER
from tallyspan_collector.directory.period import ALWAYS, FURTHER_NOTICE, Period
from tallyspan_collector.directory.stored import changes, stored, write

ADA, BOB, EVE = str(USER), "65aa00000000000000000002", "65aa00000000000000000003"
TODAY = date.today()  # noqa: DTZ011  the day of the store, near enough


def users(bench: Bench) -> None:
    database = bench.librechat.database
    database.users.insert_many([
        {"_id": USER, "name": "A\x1bda", "email": "ada@example.com", "password": "SECRET"},
        {"_id": ObjectId(BOB), "username": "bob", "idOnTheSource": "entra-7"},
        {"_id": ObjectId(EVE), "email": "eve@example.com", "tenantId": "t1"},
    ])  # fmt: skip
    database.groups.insert_many([
        {"name": "Search", "source": "local", "memberIds": [ADA]},
        {"name": "Ads", "source": "entra", "memberIds": ["entra-7"]},
        {"name": "Zoo", "source": "local", "memberIds": [BOB, EVE]},
    ])  # fmt: skip


def directory(bench: Bench) -> list[tuple[str, str, str, str]]:
    return [
        (each.tenant, each.user_id, each.department, each.display_name)
        for each in stored(bench.client)
    ]


def test_users_and_their_groups_become_people_and_departments(bench: Bench) -> None:
    users(bench)
    bench.librechat.call("m1")
    bench.imported("--people", "--group-as", "department")

    assert directory(bench) == [
        ("", ADA, "Search", "Ada"),
        ("", BOB, "Ads", "bob"),
        ("t1", EVE, "", "eve@example.com"),  # the group is one of another tenant
    ]
    assert "1 user in several groups: the first by name pays" in bench.err
    # the departments hold for what is booked in the same run, and for days before it
    assert bench.calls("department") == [("Search",)]

    bench.imported("--people", "--group-as", "department")
    assert len(stored(bench.client)) == 3


def test_what_the_directory_has_stays_and_changes_hold_from_today_on(bench: Bench) -> None:
    users(bench)
    old = Period("", ADA, ALWAYS, FURTHER_NOTICE, "Research", "0042", "A.")
    gone = Period("", "65aa0000000000000000ffff", ALWAYS, FURTHER_NOTICE, "Sales", "", "Gone")
    write(bench.client, changes([old, gone], []), "test", "test")
    bench.imported("--people")
    names_only = [each for each in stored(bench.client) if each.user_id == ADA]
    bench.imported("--people", "--group-as", "department")
    moved = [each for each in stored(bench.client) if each.user_id == ADA]

    assert [(each.department, each.cost_centre, each.display_name) for each in names_only] == [
        ("Research", "0042", "A."), ("Research", "0042", "Ada"),
    ]  # fmt: skip
    assert moved[-1].department == "Search"
    assert moved[-1].valid_from >= TODAY
    assert gone in stored(bench.client)


def test_a_preview_leaves_the_directory_as_it_is(bench: Bench) -> None:
    users(bench)
    bench.run("import", "--mongo", bench.librechat.uri, "--people", "--preview")

    assert "3 periods of the directory would change" in bench.out
    assert directory(bench) == []


def test_users_are_called_as_spans_call_them(bench: Bench) -> None:
    users(bench)
    for message, user in (("m1", USER), ("m2", ObjectId(BOB)), ("m3", ObjectId(b"no user here"))):
        bench.librechat.call(message, user=user)
    bench.imported("--user-field", "email", "--people", "--names", f"{BOB}=bob@example.com")

    assert bench.calls("user_id") == [
        (str(ObjectId(b"no user here")),), ("ada@example.com",), ("bob@example.com",),
    ]  # fmt: skip
    assert [user for _, user, _, _ in directory(bench)] == [
        "ada@example.com", "bob@example.com", "eve@example.com",
    ]  # fmt: skip


def test_groups_alone_are_not_asked_for(bench: Bench) -> None:
    assert bench.run("import", "--mongo", bench.librechat.uri, "--group-as", "department") == 2
    assert bench.err == "tallyspan: --group-as is for --people\n"
