import pytest

from tallyspan_collector.files.nearest import hint, nearest

NAMES = ("spool_limit", "seen_window")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("spool_limt", "did you mean 'spool_limit'?"),
        ("x", "known: spool_limit, seen_window"),
        (7, "known: spool_limit, seen_window"),
    ],
)
def test_the_hint_is_the_most_similar_name_else_all_names(name: object, sentence: str) -> None:
    assert hint(name, NAMES) == sentence


def test_only_the_beginning_of_a_long_name_is_compared() -> None:
    assert nearest("spool_limit" + "x" * 10**7, ["spool_limit" + "x" * 89]) is not None
    assert nearest("y" * 10**7, NAMES) is None
