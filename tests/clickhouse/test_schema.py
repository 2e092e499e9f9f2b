"""The schema is data: what contradicts itself is refused, what is made of it does not drift."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tallyspan_clickhouse import generate
from tallyspan_clickhouse.ddl import baseline
from tallyspan_clickhouse.migrate import Migration, bundled
from tallyspan_clickhouse.schema import (
    CALL_COLUMNS,
    COLUMNS,
    MEASURES,
    READABLE_VIEWS,
    ROLLUPS,
    SCHEMA,
    TABLES,
    VIEWS,
)
from tallyspan_clickhouse.schema_types import (
    Column,
    Dimension,
    Measure,
    Net,
    RollupTable,
    Schema,
    SchemaError,
    View,
)

TIDE = Column(
    "tide",
    "LowCardinality(String)",
    "Region that served the call",
    net=Net.KEY,
    dimension=Dimension("tide", "tide"),
)


def test_generated_files_are_what_the_schema_makes() -> None:
    assert generate.main(["--check"]) == 0


def test_drift_of_a_generated_file_fails_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "files", lambda: {tmp_path / "a.sql": "SELECT 1\n"})

    assert generate.main(["--check"]) == 1
    assert "a.sql is not what the schema makes" in capsys.readouterr().err
    assert not (tmp_path / "a.sql").exists()
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_baseline_that_other_migrations_follow_is_not_written_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    baseline_path = generate.REPOSITORY / generate.BASELINE
    assert baseline_path in generate.files()

    later = Migration(2, "0002_tide.sql", "SELECT 1")
    monkeypatch.setattr(generate, "bundled", lambda: [*bundled(), later])
    assert baseline_path not in generate.files()


def test_a_marker_that_nothing_fills_is_refused(tmp_path: Path) -> None:
    for name in ("clickhouse/config/users.d/tallyspan.xml", "docs/api.md", "clickhouse/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("<!-- schema: filtres -->\n<!-- end -->\n")

    with pytest.raises(SchemaError, match=r"no block is called 'filtres': grants, filters"):
        generate.files(tmp_path)


def test_a_new_column_reaches_ledger_views_rollup_and_dimensions_from_one_place() -> None:
    knowing = {"usage_by_model", "usage_hourly", "rollup_days", "rollup_hourly"}
    rollups = tuple(
        replace(each, key=(*each.key, "tide")) if each.view in knowing else each for each in ROLLUPS
    )
    stored = tuple(
        replace(each, key=(*each.key, "tide")) if each.name in knowing else each for each in TABLES
    )

    schema = replace(SCHEMA, columns=(*COLUMNS, TIDE), tables=stored, rollups=rollups)
    sql = baseline(schema)

    tables = {part.split("(", 1)[0].strip(): part for part in sql.split("CREATE ")[1:]}
    has_tide = {name.split(".")[1].split()[0] for name, part in tables.items() if "tide" in part}
    assert has_tide == {
        "llm_calls", "calls", "usage_entries", "rollup_hourly", "rollup_hourly_feed",
        "usage_hourly", "rollup_days", "rollup_days_feed", "usage_by_model", "call_doubts",
    }  # fmt: skip
    assert "tide" in schema.call_fields
    assert Dimension("tide", "tide") in schema.dimensions


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"columns": (*COLUMNS, replace(TIDE, comment=" "))},
            r"column tide has no comment: say what it holds, its unit",
        ),
        (
            {"measures": (*MEASURES, Measure("fees", "Int64", "", "l.sign"))},
            r"measure fees has no comment",
        ),
        (
            {"columns": (*COLUMNS, replace(TIDE, name="Region"))},
            r"column of the ledger 'Region' must be lower-case",
        ),
        ({"columns": (*COLUMNS, COLUMNS[0])}, r"column of the ledger: two are called 'start_time'"),
        (
            {"columns": (*COLUMNS, replace(TIDE, net=None))},
            r"column tide is a dimension and not in calls: give it net",
        ),
        (
            {"columns": (*COLUMNS, replace(TIDE, net=Net.SUM))},
            r"column tide is summed, so its type must be Nullable",
        ),
        (
            {"columns": (*COLUMNS, replace(TIDE, dimension=Dimension("user", "tide")))},
            r"group: two are called 'user'",
        ),
        (
            {"tables": (*TABLES, RollupTable("r", ("tenant", "day", "department", "tdie"), "x"))},
            r"rollup r groups by 'tdie', which is no column of the ledger",
        ),
        (
            {"tables": (*TABLES, RollupTable("r", ("tenant", "department"), "x"))},
            r"rollup r must have day or hour in its key",
        ),
        (
            {"tables": (*TABLES, RollupTable("r", ("tenant", "day"), "x"))},
            r"rollup r lacks department: nobody could be limited",
        ),
        (
            {"rollups": (*ROLLUPS, replace(ROLLUPS[0], view="v", key=("day", "agent_id")))},
            r"rollup v lacks tenant: nobody could be limited",
        ),
        (
            {"rollups": (*ROLLUPS, replace(ROLLUPS[0], view="v", more=("lagz",)))},
            r"rollup v names 'lagz', which is no measure to choose: there are durations, first_chunk_us,",
        ),
        (
            {"rollups": (*ROLLUPS, replace(ROLLUPS[0], view="v", table="rollup_users"))},
            r"rollup v is made of rollup_users, which lacks agent_id, durations",
        ),
        (
            {"rollups": (*ROLLUPS, replace(ROLLUPS[0], view="v", table="rollup_user"))},
            r"rollup v is made of 'rollup_user', which is no table of sums",
        ),
        (
            {"tables": (*TABLES, replace(TABLES[1], name="r", fed_by="rollup_users"))},
            r"rollup r is made of rollup_users, which lacks model_name",
        ),
        (
            {"call_columns": (*CALL_COLUMNS, replace(CALL_COLUMNS[0], name="x", after="y"))},
            r"column x of calls stands after 'y', which is no column of the ledger",
        ),
        ({"token_usage": ("log_id", "who")}, r"token_usage has 'who', which is no field of a call"),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_name(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SchemaError, match=sentence):
        replace(SCHEMA, **change)


def test_a_view_that_no_sql_makes_is_refused() -> None:
    schema = replace(SCHEMA, views=(*VIEWS, View("nowhere")))

    with pytest.raises(SchemaError, match="no SQL makes the view nowhere: write it to objects/"):
        baseline(schema)


def test_every_view_of_the_baseline_says_whose_rows_it_has() -> None:
    created = [part.split(" ", 1)[0] for part in baseline().split("CREATE VIEW {database}.")[1:]]

    assert sorted(created) == sorted(READABLE_VIEWS)


def test_a_view_is_limited_by_the_tenant_and_the_department_that_its_rows_have() -> None:
    views = baseline().split("CREATE VIEW {database}.")[1:]
    columns = {part.split(" ", 1)[0]: part.split("DEFINER", 1)[0] for part in views}

    for view in VIEWS:
        owners = {
            name for name in ("tenant", "department") if f"\n    {name} " in columns[view.name]
        }
        assert set(view.limited_by) == owners, view.name


def test_an_empty_schema_is_no_exception() -> None:
    assert Schema((), (), (), (), (), (), (), ()).dimensions == {}
