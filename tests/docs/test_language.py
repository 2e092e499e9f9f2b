"""Names say what a thing is: attributes, row, result; none is a participle like `said` or `made`.

Only names that our code defines count. Names that are data (columns, JSON keys) are strings.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCANNED = ("instrumentation", "collector", "clickhouse", "grafana", "bench", "tests/fixtures")
WORDS = {"said", "stated", "told", "made", "given", "found", "known", "asked"}
THEIRS = {"connection_made"}
"""Methods that a library calls: asyncio's protocols."""
LIMIT = re.compile(r"_*(?:MOST|LONGEST)(?:_[A-Z0-9_]*)?|_*(?:[A-Z0-9_]+_)?LIMIT")
INSTEAD = (
    "name it by what it is (attributes, usage, params, row, reading, result, match, request,"
    " input_tokens); a limit is MAX_..."
)


def parts(name: str) -> list[str]:
    """Return the words of a snake_case or CamelCase name, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name.strip("_"))]


def is_refused(name: str) -> bool:
    """Return whether a name is or contains a listed word; `is_known` is a predicate, and may."""
    if LIMIT.fullmatch(name):
        return True
    words = parts(name)
    if name in THEIRS:
        return False
    return not WORDS.isdisjoint(words) and words[0] not in {"is", "has", "was"}


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that the code defines, and its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.arg(arg=name)
            ):
                yield name, node.lineno
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
                | ast.alias(asname=str(name))
            ):
                yield name, node.lineno
            case _:
                pass


def refused(path: Path) -> list[str]:
    """Return `file:line: name` for every refused name of a file, once for each line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for name, line in sorted(set(names(tree)), key=lambda each: (each[1], each[0]))
        if is_refused(name)
    ]


def test_no_name_is_a_participle_and_every_limit_is_max() -> None:
    files = sorted(each for folder in SCANNED for each in (ROOT / folder).rglob("*.py"))
    lines = [line for path in files for line in refused(path)]

    assert not lines, "\n".join([INSTEAD, *lines])


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("said = 1", "said"),
        ("_found: int = 1", "_found"),
        ("class Asked: pass", "Asked"),
        ("class _FoundRow: pass", "_FoundRow"),
        ("def told(): pass", "told"),
        ("async def f(given): pass", "given"),
        ("f = lambda *made, **rest: 0", "made"),
        ("self.stated = 1", "stated"),
        ("if known := f(): pass", "known"),
        ("[found for found in rows]", "found"),
        ("import x as made", "made"),
        ("try: pass\nexcept E as said: pass", "said"),
        ("match x:\n    case {'a': given}: pass", "given"),
        ("usage_stated = 1", "usage_stated"),
        ("MOST_ROWS = 1", "MOST_ROWS"),
        ("_LONGEST = 1", "_LONGEST"),
        ("ROWS_LIMIT = 1", "ROWS_LIMIT"),
    ],
)
def test_the_rule_sees_every_way_to_define_a_name(code: str, name: str) -> None:
    assert [each for each, _ in names(ast.parse(code)) if is_refused(each)] == [name]


@pytest.mark.parametrize(
    "code",
    [
        "is_known = unknown = foundation = remade = 1",
        "row['input_stated'] = columns.said",
        "f(given=1)",
        "rate_limit = limiter = MAX_ROWS = almost = 1",
        "from hypothesis import given",
    ],
)
def test_the_rule_leaves_predicates_data_and_names_of_others(code: str) -> None:
    assert [each for each, _ in names(ast.parse(code)) if is_refused(each)] == []
