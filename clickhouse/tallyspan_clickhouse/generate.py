"""`python -m tallyspan_clickhouse.generate [--check]`: write what is made of the schema.

The baseline migration, the reader's grants of a ClickHouse server, and the tables of the
documentation. `--check` writes nothing and exits 1 where a file is not what would be written.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tallyspan_clickhouse.ddl import baseline
from tallyspan_clickhouse.migrate import bundled
from tallyspan_clickhouse.schema import READABLE_VIEWS, SCHEMA
from tallyspan_clickhouse.schema_types import SchemaError

REPOSITORY = Path(__file__).parents[2]
BASELINE = Path("clickhouse/tallyspan_clickhouse/migrations/0001_schema.sql")
_BLOCK = re.compile(r"(?s)(<!-- schema: (?P<name>\w+) -->\n).*?( *<!-- end -->)")


def files(repository: Path = REPOSITORY) -> dict[Path, str]:
    """Return the text of each generated file. Raises SchemaError for a block nobody makes.

    The baseline is one of them as long as it is the only migration: one that others follow has been
    released, and a change of the schema is a migration's.
    """
    is_released = [each.name for each in bundled()] != [BASELINE.name]
    texts = {} if is_released else {repository / BASELINE: baseline()}
    for name in ("clickhouse/config/users.d/tallyspan.xml", "docs/api.md", "clickhouse/README.md"):
        path = repository / name
        texts[path] = _filled(path.read_text(encoding="utf-8"), name)
    return texts


def blocks() -> Mapping[str, str]:
    """Return the generated parts of files that people write, by the name in their marker."""
    return {
        "grants": "\n".join(
            f"                <query>GRANT SELECT ON tallyspan.{view}</query>"
            for view in READABLE_VIEWS
        ),
        "filters": _table(
            ("parameter", "only calls with exactly this"),
            [
                (f"`{each.filter}`", _says(column.comment))
                for each, column in SCHEMA.dimensions.items()
            ],
        ),
        "groups": ", ".join(f"`{each.group}`" for each in SCHEMA.dimensions),
        "call": _table(
            ("field", "meaning"),
            [(f"`{name}`", _says(each.comment)) for name, each in SCHEMA.call_fields.items()],
        ),
        "figures": _table(
            ("field", "meaning"), [(f"`{each.name}`", each.about) for each in SCHEMA.figures]
        ),
        "rollups": _table(
            ("view", "a row is a part of", "and can be told apart by"),
            [
                (
                    f"`{rollup.view}`",
                    f"a UTC {rollup.time}",
                    ", ".join(f"`{name}`" for name in rollup.key if name not in {"day", "hour"}),
                )
                for rollup in SCHEMA.rollups
            ],
        ),
    }


def _says(comment: str) -> str:
    return comment.replace("NULL:", "null:")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _filled(text: str, name: str) -> str:
    texts = blocks()

    def block(match: re.Match[str]) -> str:
        if match["name"] not in texts:
            raise SchemaError(f"{name}: no block is called {match['name']!r}: {', '.join(texts)}")
        return f"{match[1]}{texts[match['name']]}\n{match[3]}"

    return _BLOCK.sub(block, text)


def main(arguments: list[str] | None = None) -> int:
    """Write or check every generated file; return 1 if a file is not what would be written."""
    parser = argparse.ArgumentParser(prog="tallyspan_clickhouse.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on drift")
    is_check = parser.parse_args(arguments).check
    drifted = 0
    for path, text in files().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if is_check:
            sys.stderr.write(f"{path} is not what the schema makes: run `make schema`\n")
            drifted = 1
        else:
            path.write_text(text, encoding="utf-8")
    return drifted


if __name__ == "__main__":
    sys.exit(main())
