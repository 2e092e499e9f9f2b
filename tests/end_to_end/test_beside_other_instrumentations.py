"""Ours and another instrumentation on one call of a real SDK: one net charge, the right tokens."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

import instrumented_sdks
from running import Running
from tallyspan_collector.demo.recordings import Recording, load


@dataclass(frozen=True)
class Case:
    """The first recording of this kind that states its usage."""

    api: str
    is_stream: bool

    def __str__(self) -> str:
        return self.api + (" stream" if self.is_stream else "")

    def recording(self) -> Recording:
        return next(
            each
            for each in load()
            if each.expected["api"] == self.api
            and each.is_stream == self.is_stream
            and each.expected["usage_reported"]
            and each.expected["provider"] in {"openai", "anthropic"}
            and each.status == 200
        )


RESPONSES = Case("openai.responses", is_stream=False)
RESPONSES_STREAM = Case("openai.responses", is_stream=True)
MESSAGES = Case("anthropic.messages", is_stream=False)
MESSAGES_STREAM = Case("anthropic.messages", is_stream=True)
OPENAI = [
    Case("openai.chat", is_stream=False),
    Case("openai.chat", is_stream=True),
    RESPONSES,
    RESPONSES_STREAM,
    Case("openai.embeddings", is_stream=False),
]
ANTHROPIC = [MESSAGES, MESSAGES_STREAM]
CASES = [
    pytest.param(
        other,
        case,
        id=f"{other}: {case}",
    )
    for other in instrumented_sdks.OTHERS
    for case in (
        OPENAI + ANTHROPIC
        if other == "none"
        else ANTHROPIC
        if other.endswith("anthropic")
        else OPENAI
    )
]

Replay = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def replay(collector: Running) -> Iterator[Replay]:
    ids = [case.recording().id for case in OPENAI + ANTHROPIC]
    command = [
        sys.executable, instrumented_sdks.__file__, f"http://{collector.ready.otlp_http}", *ids,
    ]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        requests, answers, errors = child.stdin, child.stdout, child.stderr

        @cache
        def run(other: str) -> dict[str, Any]:
            requests.write(other + "\n")
            requests.flush()
            line = answers.readline()
            assert line, errors.read()
            said: dict[str, Any] = json.loads(line)
            return said

        yield run


@pytest.mark.parametrize(("other", "case"), CASES)
def test_a_call_seen_by_two_is_one_net_charge_with_the_tokens_it_states(
    other: str, case: Case, replay: Replay, collector: Running
) -> None:
    package = instrumented_sdks.OTHERS[other]
    if package is not None:
        pytest.importorskip(package.partition(":")[0])
    said, recording = replay(other), case.recording()

    assert not said["failures"]
    (booked,) = collector.rows(
        "SELECT sum(sign) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output"
        " FROM llm_calls WHERE trace_id = {trace:String}",
        trace=said["traces"][recording.id],
    )
    assert booked == {
        "calls": 1,
        "input": recording.expected["input_tokens"],
        "output": recording.expected.get("output_tokens"),
    }
