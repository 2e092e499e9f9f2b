"""The day that was measured on a real LibreChat (117 calls), as its documents and its spans.

Counts and sums of each row are those of the measurement; how the tokens are spread over the calls of a
row is made up. Images, speech and the title of Assistants are in neither ledger.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

import httpx
import pytest
from clickhouse_connect.driver.client import Client

from command_line import CommandLine
from librechat_ledger import NOON, USER, LibreChat
from running import Running

OM, TM = "langfuse.observation.metadata.", "langfuse.trace.metadata."
PERIOD = ["--from", "2026-03-31", "--to", "2026-03-31"]
GPT, CLAUDE, LOCAL = "gpt-5-mini", "claude-sonnet-4-5", "llama-local"
RATES = {GPT: (0.25, 2.0), CLAUDE: (3.0, 15.0), LOCAL: (6.0, 6.0)}
_numbers = count(1)


class Row(NamedTuple):
    """Calls of one kind: how many, their input and output; cached input is read from the cache."""

    calls: int
    tokens: tuple[int, int]
    model: str = GPT
    endpoint: str = "openAI"
    kind: str = ""
    cached: int = 0

    def split(self) -> Iterator[tuple[int, int]]:
        """Yield the tokens of each call; together they are those of the row."""
        for place in range(self.calls):
            of_input, of_output = (
                total // self.calls + (place < total % self.calls) for total in self.tokens
            )
            yield of_input, of_output


class Day:
    """Writes the calls of a day into LibreChat's database and collects its spans."""

    def __init__(self, librechat: LibreChat) -> None:
        self.librechat = librechat
        self.spans: list[dict[str, Any]] = []

    def both(self, row: Row, *, documents_cached: bool = True, document_input: int = 0) -> None:
        """Calls that both ledgers have."""
        for tokens in row.split():
            message = self._message(row)
            self._span(row, message, tokens)
            written = (tokens[0] - row.cached if document_input else tokens[0], tokens[1])
            cached = (0, row.cached) if row.cached and documents_cached else None
            self._call(row, message, written, cached)

    def theirs(self, row: Row) -> None:
        """Calls that only LibreChat's ledger has."""
        for tokens in row.split():
            self._call(row, self._message(row), tokens)

    def of_assistants(self, tokens: tuple[int, int]) -> None:
        """A run, which names no message."""
        conversation = {"conversationId": "thread", "endpoint": "assistants", "agent_id": None}
        self.librechat.database.conversations.insert_one(conversation)
        self.librechat.call("", tokens, model="gpt-4.1", conversation="thread", rates=(2.0, 8.0))

    def ours(self, row: Row) -> None:
        """Calls that only spans tell of."""
        for tokens in row.split():
            self._span(row, self._message(row), tokens)

    def without_usage(self, row: Row, *estimates: tuple[int, int], error: str = "") -> None:
        """Calls whose span has no usage; of the first ones LibreChat made an estimate."""
        for place in range(row.calls):
            message = self._message(row, usage=False, error=bool(error))
            self._span(row, message, None, error)
            if place < len(estimates):
                self._call(row, message, estimates[place])

    def send(self, collector: Running) -> None:
        scope = {"scope": {"name": "langfuse-sdk", "version": "5.10.1"}, "spans": self.spans}
        body = {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [scope]}]}
        url = f"http://{collector.ready.otlp_http}/api/public/otel/v1/traces"
        assert httpx.post(url, json=body).status_code == 200
        collector.settle()

    def _message(self, row: Row, **more: Any) -> str:
        message = f"m{next(_numbers)}"
        self.librechat.message(message, endpoint=row.endpoint, model=row.model, **more)
        return message

    def _call(
        self,
        row: Row,
        message: str,
        tokens: tuple[int, int],
        cached: tuple[int, int] | None = None,
    ) -> None:
        rates = RATES[row.model]
        documents = self.librechat.call(
            message, tokens, model=row.model, context=row.kind or "message", rates=rates,
            cached=cached, at=NOON + timedelta(seconds=30),
        )  # fmt: skip
        if cached:  # read at a tenth of the price of input, written at five quarters of it
            value = -(tokens[0] - sum(cached)) * rates[0]
            value -= cached[0] * rates[0] * 1.25 + cached[1] * rates[0] * 0.1
            change = {"$set": {"tokenValue": value}}
            self.librechat.database.transactions.update_one({"_id": documents[0]["_id"]}, change)

    def _span(
        self, row: Row, message: str, tokens: tuple[int, int] | None, error: str = ""
    ) -> None:
        name = f"{row.kind}-{message}" if row.kind == "title" else message
        attributes: dict[str, Any] = {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": row.model,
            f"{OM}ls_provider": "anthropic" if row.model == CLAUDE else "openai",
            f"{OM}ls_model_name": row.model,
            f"{OM}agentId": f"{row.endpoint}__{row.model}___GPT",
            f"{TM}messageId": name,
            "langfuse.trace.tags": ["librechat", row.kind if row.kind == "title" else "agent"],
            "langfuse.trace.name": "MemoryRun" if row.kind == "memory" else "AgentRun",
            "user.id": str(USER),
            "session.id": "c1",
        }
        if tokens:
            buckets = {"input": tokens[0] - row.cached, "output": tokens[1], "total": sum(tokens)}
            if row.cached:
                buckets["input_cache_read"] = row.cached
            attributes["langfuse.observation.usage_details"] = json.dumps(buckets)
        if error:
            attributes["langfuse.observation.level"] = "ERROR"
            attributes["langfuse.observation.status_message"] = error
        at = int(NOON.timestamp() * 1e9)
        self.spans.append({
            "traceId": hashlib.sha256(name.encode()).hexdigest()[:32],
            "spanId": hashlib.sha256(f"{name} {len(self.spans)}".encode()).hexdigest()[:16],
            "name": "llm",
            "kind": 1,
            "startTimeUnixNano": str(at),
            "endTimeUnixNano": str(at + 2_000_000_000),
            "attributes": [
                {"key": key, "value": {"arrayValue": {"values": [{"stringValue": each} for each in content]}}
                 if isinstance(content, list) else {"stringValue": content}}
                for key, content in attributes.items()
            ],
            "status": {"code": 0},
        })  # fmt: skip


@pytest.fixture(scope="module")
def day(mongo_server: LibreChat, collector: Running) -> LibreChat:
    mongo_server.empty()
    mongo_server.database.users.insert_one({"_id": USER, "name": "Ada", "password": "SECRET"})
    day = Day(mongo_server)
    day.both(Row(26, (70_824, 26_736)))
    day.both(Row(1, (2_404, 856)))
    day.both(Row(2, (1_300, 500), CLAUDE, "anthropic"))
    day.both(Row(2, (6_117, 667), CLAUDE, "anthropic", cached=2_000))
    day.both(Row(18, (41_000, 14_000), kind="title"))
    day.both(Row(3, (8_527, 2_413), LOCAL, "local", "title"))
    day.both(Row(3, (8_582, 3_500), kind="title", cached=1_760), documents_cached=False,
             document_input=1)  # fmt: skip
    day.ours(Row(22, (53_343, 19_077), kind="memory"))
    day.both(Row(5, (13_684, 5_176), LOCAL, "local"))
    day.without_usage(Row(5, (0, 0), LOCAL, "local"), (6, 9), (23, 9), (8, 9))
    day.without_usage(Row(5, (0, 0)), error="Error: AbortError: User aborted the request.")
    day.without_usage(Row(4, (0, 0)), (6, 4), error="Error: 400 no such model")
    day.of_assistants((912, 282))
    day.theirs(Row(7, (31_000, 12_000)))
    day.send(collector)
    return mongo_server


@pytest.fixture
def command(day: LibreChat, collector: Running, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(collector.data_dir, collector.client, capsys)


def run(command: CommandLine, day: LibreChat, collector: Running, *arguments: str) -> Any:
    """Run a command on both ledgers; return its exit code and answer."""
    command.name, *rest = arguments
    more = ["--mongo", day.uri, *PERIOD, "--format", "json", "--store", collector.store]
    code = command.run(*rest, *more)
    return code, json.loads(command.out)


def test_every_difference_of_the_measured_day_has_its_reason_and_an_import_closes_the_gaps(
    command: CommandLine, day: LibreChat, collector: Running, client: Client
) -> None:
    assert day.database.transactions.count_documents({}) == 2 * 72
    assert client.command("SELECT count() FROM calls") == 96
    code, before = run(command, day, collector, "reconcile", "librechat")
    assert (code, before["is_explained"]) == (0, True)
    assert before["reasons"] == {
        "equal": 49,
        "memory": 22,
        "default_rate": 8,
        "no_span": 7,
        "usage_off": 5,
        "aborted": 5,
        "cache_ignored": 3,
        "failed": 3,
        "phantom": 1,
        "assistants": 1,
    }
    lines = before["lines"]
    assert sum(line["their_calls"] for line in lines) == 72
    assert sum(line["our_calls"] for line in lines) == 96

    _, imported = run(command, day, collector, "librechat", "import")
    assert sum(line["imported_calls"] for line in imported["lines"]) == 8
    assert client.command("SELECT count() FROM calls") == 104

    _, again = run(command, day, collector, "librechat", "import")
    entries = client.command("SELECT count() FROM llm_calls")
    assert sum(line["imported_calls"] for line in again["lines"]) == 8
    assert entries == 104

    code, after = run(command, day, collector, "reconcile", "librechat")
    assert (code, after["unexplained_calls"]) == (0, 0)
    assert after["reasons"]["imported"] == 8
    assert not {"assistants", "no_span"} & after["reasons"].keys()
