"""Which reader is used: the compiled one only if it was made from the source that is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_readers import reader_named
from tallyspan_collector.columns import reader as readers
from tallyspan_collector.columns.reader import PYTHON, VERSION, choose, compiled
from tallyspan_collector.errors import ConfigError


@pytest.fixture
def another_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The compiled reader, where there is one, beside the source of another version."""
    reader_named("compiled")
    other = tmp_path / "_reader.pyx"
    other.write_bytes(readers.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(readers, "SOURCE", other)
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def test_the_compiled_reader_is_taken_where_it_is() -> None:
    assert choose("auto") is reader_named("compiled")
    assert choose("compiled").name == "compiled"


def test_the_python_reader_can_be_wanted() -> None:
    assert choose("python") is PYTHON


@pytest.mark.usefixtures("another_source")
def test_a_compiled_reader_of_another_version_is_left_alone() -> None:
    assert choose("auto") == PYTHON._replace(refusal=VERSION)
    with pytest.raises(ConfigError, match="another version's source; install Tallyspan again"):
        choose("compiled")


TEXTS = (b"ab.", b"b.c", b"aab.", b"c")


@given(st.binary(max_size=12) | st.text("ab.c", max_size=12).map(str.encode), st.data())
def test_both_readers_find_the_same_texts(body: bytes, data: st.DataObject) -> None:
    start, end = data.draw(st.integers(0, 14)), data.draw(st.integers(0, 14))
    texts = data.draw(st.sampled_from([TEXTS, TEXTS[:3], TEXTS[2:3]]))

    found = reader_named("compiled").has_any(body, start, end, texts)
    assert found == PYTHON.has_any(body, start, end, texts)
    assert found == any(text in body[start:end] for text in texts)
