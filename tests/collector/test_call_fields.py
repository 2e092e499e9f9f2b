"""A field of `Call` is read from spans, and a merge of several reports knows what to do with it."""

import ast
from collections.abc import Iterable
from pathlib import Path

from tallyspan_collector import dialects, read
from tallyspan_collector.read.call import FIELDS
from tallyspan_collector.resolution import charge

OF_THE_BEST_REPORT = {
    "trace_id", "span_id", "parent_span_id", "start_time_ns", "end_time_ns", "operation_name",
    "service_name", "part", "same_call_id", "is_error", "error_type", "http_status",
    "usage_source", "scope_name", "dialect", "is_notional", "key_department",
}  # fmt: skip
"""What a merged call has from its best report, whatever the others have."""


def names_in(files: Iterable[Path]) -> set[str]:
    """Return the names that are written as a text or a keyword argument."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_bytes()))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and str(node.value) == node.value} | {
        node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg
    }  # fmt: skip


def test_every_field_is_read_from_a_span() -> None:
    files = [
        file
        for package in (read, dialects)
        for file in Path(package.__path__[0]).glob("*.py")
        if file.name != "call.py"
    ]

    assert not set(FIELDS) - names_in(files), "no dialect fills it: see docs/add-a-column.md"


def test_a_merge_knows_every_field() -> None:
    merged = names_in([Path(charge.__file__)]) & set(FIELDS)

    assert merged | OF_THE_BEST_REPORT == set(FIELDS), (
        "say in resolution/charge.py whether another report completes it"
    )
