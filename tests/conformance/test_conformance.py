"""What real packages emitted for recorded calls, read and resolved: the calls the recordings say."""

import json
from pathlib import Path
from typing import Any

import pytest

from tallyspan_collector.dialects import Reader
from tallyspan_collector.otlp import Span
from tallyspan_collector.resolution.resolver import Resolver

CASES = sorted(Path(__file__).parent.glob("*/*.json"))
STATED_OTHERWISE: dict[str, dict[str, int | None]] = {
    # it adds the placeholder of the stream's first event to the answer's tokens
    "openllmetry_anthropic/messages_stream": {"output_tokens": 60},
    # its spans of streamed answers say nothing of usage
    "openinference_anthropic/messages_stream": {"input_tokens": None, "output_tokens": None},
}
"""What a package itself states wrongly or not at all; nothing in the span says better."""


def net(spans: list[dict[str, Any]], folder: Path) -> list[Any]:
    reader = Reader()
    resolver = Resolver(folder / "traces.sqlite")
    made = resolver.resolve([reader.read(Span(**span)) for span in spans], 1)
    resolver.close()
    return [each.call for each in made.entries]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}/{case.stem}" for case in CASES])
def test_the_captured_spans_are_the_recorded_call(case: Path, tmp_path: Path) -> None:
    captured = json.loads(case.read_text())
    (recorded,) = captured["expected"]
    expected = recorded | STATED_OTHERWISE.get(f"{case.parent.name}/{case.stem}", {})
    (call,) = net(captured["spans"], tmp_path)

    assert call.provider_name in {"openai", "anthropic"}
    assert call.model_name
    assert call.usage.input_tokens == expected["input_tokens"]
    assert call.usage.output_tokens == expected["output_tokens"]
    assert call.usage_source == ("unknown" if expected["input_tokens"] is None else "provider")


def test_the_corpus_has_the_packages_it_should() -> None:
    assert {case.parent.name for case in CASES} >= {
        "genai_anthropic",
        "genai_openai",
        "langfuse_openai",
        "litellm",
        "openinference_openai",
        "openllmetry_openai",
        "pydantic_ai_openai",
    }
