"""What spans say of batches: told once, items packed, whatever the file is and wherever it is cut."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan import semconv
from tallyspan.background import Background
from tallyspan.batch import MAX_GROUPS, MAX_ITEMS, Batch, Item, Kind, key_of
from tallyspan.batch_format import MAX_LISTED
from tallyspan.body import Body
from tallyspan.formats import FORMATS
from tallyspan.guard import failures

USAGE = {"input_tokens": 14, "output_tokens": 12}


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallyspan.exchange.background", Background())


def answers(*bodies: Any, status: int = 200) -> httpx.Client:
    """A client that gets these answers, one after another."""
    left = iter(bodies)
    return httpx.Client(
        transport=httpx.MockTransport(
            lambda _: httpx.Response(
                status,
                content=each
                if isinstance(each := next(left), str | bytes)
                else json.dumps(each).encode(),
            )
        )
    )


def told(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(each.attributes or {}) for each in spans.get_finished_spans()]


def batch(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "batch_1", "object": "batch", "model": "gpt-5", "status": status, **more}


def line(name: str, input_tokens: int, text: str = "") -> str:
    body = {
        "id": f"c_{name}", "object": "chat.completion", "model": "gpt-5",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": input_tokens, "completion_tokens": 1},
    }  # fmt: skip
    return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}}) + "\n"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/batches/batch_1",
        "https://acme.openai.azure.com/openai/batches/batch_1",
        "https://gateway.internal/v1/batches/batch_1",
    ],
)
@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_the_sum_of_a_batch_is_told_once_when_it_is_over(
    spans: InMemorySpanExporter, url: str, status: str
) -> None:
    waiting = batch("in_progress", usage={"input_tokens": 3, "output_tokens": 1})
    over = batch(status, usage=USAGE)
    with answers(waiting, waiting, over, over) as client:
        for _ in range(4):
            client.get(url)

    (only,) = told(spans)
    assert only[semconv.BATCH_EVENT] == "state"
    assert only[semconv.BATCH_COLUMNS] == ("input_tokens", "output_tokens")
    assert only[semconv.BATCH_ITEMS] == (" - batch_1 14 12",)


JOB = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefgh1234"
FOLDER = {"gcsOutputDirectory": "gs://b/out/prediction-1"}
MISTRAL_JOB = {"id": "batch_1", "object": "batch", "status": "SUCCESS", "output_file": "file-2"}
TOGETHER_JOB = {"id": "batch_1", "input_file_id": "file-1", "output_file_id": "file-2"}
GEMINI_BATCH = {"name": "batches/b1", "done": True, "response": {"responsesFile": "files/file-2"}}
VERTEX_JOB = {"name": "projects/p/locations/l/batchPredictionJobs/1", "outputInfo": FOLDER}


@pytest.mark.parametrize(
    ("one", "many", "body", "key"),
    [
        ("api.openai.com/v1/batches/batch_1", "api.openai.com/v1/batches",
         batch("completed", usage=USAGE, output_file_id="file-2"), "data"),
        ("api.groq.com/openai/v1/batches/batch_1", "api.groq.com/openai/v1/batches",
         batch("completed", output_file_id="file-2"), "data"),
        ("api.mistral.ai/v1/batch/jobs/batch_1", "api.mistral.ai/v1/batch/jobs", MISTRAL_JOB,
         "data"),
        ("api.together.xyz/v1/batches/batch_1", "api.together.xyz/v1/batches", TOGETHER_JOB, ""),
        ("generativelanguage.googleapis.com/v1beta/batches/b1",
         "generativelanguage.googleapis.com/v1beta/batches", GEMINI_BATCH, "operations"),
        ("us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/batchPredictionJobs/1",
         "us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/batchPredictionJobs",
         VERTEX_JOB, "batchPredictionJobs"),
        ("bedrock.us-east-1.amazonaws.com/model-invocation-job/abcdefgh1234",
         "bedrock.us-east-1.amazonaws.com/model-invocation-jobs",
         {"jobArn": JOB, "modelId": "amazon.nova-lite-v1:0"}, "invocationJobSummaries"),
    ],
    ids=["openai", "groq", "mistral", "together", "gemini", "vertex", "bedrock"],
)  # fmt: skip
def test_in_a_list_each_batch_is_told_as_if_it_had_been_retrieved(
    spans: InMemorySpanExporter, one: str, many: str, body: dict[str, Any], key: str
) -> None:
    with answers(body) as client:
        client.get(f"https://{one}")
    (retrieved,) = told(spans)
    spans.clear()
    other = json.loads(json.dumps(body).replace("batch_1", "batch_2").replace("abcd", "efgh")
                       .replace("b1", "b2").replace("Jobs/1", "Jobs/2"))  # fmt: skip
    page = [body, {"id": 1}, other, other]
    with answers({key: page} if key else page) as client:
        client.get(f"https://{many}")

    # the first is known by its retrieval, the second comes twice
    (listed,) = told(spans)
    own = {semconv.BATCH_ID, semconv.BATCH_ITEMS}
    assert {name: value for name, value in listed.items() if name not in own} == {
        name: value for name, value in retrieved.items() if name not in own
    }
    assert listed[semconv.BATCH_ID] != retrieved[semconv.BATCH_ID]


@pytest.mark.parametrize(("key", "read"), [("data", MAX_LISTED), ("", 1 + MAX_LISTED)])
def test_of_a_list_that_is_too_long_the_first_batches_are_read_and_that_is_counted(
    spans: InMemorySpanExporter, key: str, read: int
) -> None:
    page = [
        {**batch("completed", output_file_id="f"), "id": f"batch_{number}"} for number in range(300)
    ]
    with answers({key: page} if key else page) as client:
        client.get("https://api.together.xyz/v1/batches")

    names = [each[semconv.BATCH_ID] for each in told(spans)]
    assert names == [f"batch_{number}" for number in range(read)]
    assert failures["read all of a list of batches"] > 0
    failures.clear()


def test_a_batch_that_was_refused_says_nothing(spans: InMemorySpanExporter) -> None:
    with answers({"error": {"message": "no such file"}}, status=400) as client:
        client.post("https://api.openai.com/v1/batches", json={"input_file_id": "file-1"})

    assert told(spans) == []


@pytest.mark.parametrize(
    "content",
    [
        b'%PDF-1.7 \n{"custom_id": "response"}\n',
        bytes(3 << 20),
        json.dumps({"custom_id": "q1", "body": {"model": "gpt-5", "usage": USAGE}}),
        json.dumps({"report": "x" * (2 << 20)}),
        "",
    ],
    ids=["pdf", "zeros", "requests", "json", "empty"],
)  # fmt: skip
def test_a_file_that_holds_no_results_is_not_read(
    spans: InMemorySpanExporter, content: bytes | str
) -> None:
    with answers(content) as client:
        got = client.get("https://api.openai.com/v1/files/file-1/content").content

    assert got == (content.encode() if isinstance(content, str) else content)
    assert told(spans) == []
    failures.clear()


def test_a_result_that_is_too_large_is_left_out_and_counted(spans: InMemorySpanExporter) -> None:
    text = line("q1", 1) + line("q2", 2, "x " * (1 << 20)) + line("q3", 3)
    with answers(text) as client:
        client.get("https://api.openai.com/v1/files/file-2/content")

    (only,) = told(spans)
    assert [each.split(" ")[0] for each in only[semconv.BATCH_ITEMS]] == [
        key_of("q1"),
        key_of("q3"),
    ]
    assert failures["read all of an answer"] == 1
    failures.clear()


LINES = (line("q1", 10) + line("q2", 20, "two\u2028lines") + line("q3", 30)).encode()


@given(st.lists(st.integers(0, len(LINES)), max_size=5).map(sorted))
def test_results_do_not_depend_on_where_the_network_cuts_the_file(cuts: list[int]) -> None:
    body = Body(FORMATS["openai_batch_results"])
    body.open("application/octet-stream", "")
    for start, end in zip([0, *cuts], [*cuts, len(LINES)], strict=True):
        body.feed(LINES[start:end])
    body.end()

    assert body.answer.batch is not None
    (group,) = body.answer.batch.take(is_over=True)
    assert [(item.key, item.amounts["input_tokens"]) for item in group.items] == [
        (key_of("q1"), 10),
        (key_of("q2"), 20),
        (key_of("q3"), 30),
    ]


def test_of_a_file_that_is_left_early_what_was_read_is_told(spans: InMemorySpanExporter) -> None:
    with answers(LINES[: len(LINES) - 40]) as client:
        client.get("https://api.openai.com/v1/files/file-2/content")

    (only,) = told(spans)
    assert len(only[semconv.BATCH_ITEMS]) == 2


def test_what_waits_is_bounded_however_many_kinds_of_results_there_are() -> None:
    gathered = Batch("batch_1")
    for number in range(10 * MAX_GROUPS):
        item = Item(key_of(str(number)), 0, "r", {"input_tokens": number})
        gathered.add(Kind("chat", f"model-{number}"), item, [])
    for number in range(3 * MAX_ITEMS):
        gathered.add(Kind("chat", "m"), Item(key_of(str(number)), 0, "r", {}), [])
    early = [*gathered.take(is_over=False)]
    late = [*gathered.take(is_over=True)]

    assert len(late) < MAX_GROUPS
    assert sum(len(group.items) for group in [*early, *late]) == 10 * MAX_GROUPS + 3 * MAX_ITEMS
    assert [*gathered.take(is_over=True)] == []
