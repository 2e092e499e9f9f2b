from tallyspan_collector.units.counts import counted


def test_one_is_singular_and_every_other_count_plural() -> None:
    assert [counted(count, "call") for count in (0, 1, 2, 1200)] == [
        "0 calls",
        "1 call",
        "2 calls",
        "1,200 calls",
    ]
    assert [counted(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]
