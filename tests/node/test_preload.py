"""instrumentation/node/tallyspan-preload.cjs in a real Node, with real clients: into a real collector, or a hostile one.

The application is `play.cjs`, the provider `fixtures/model_provider.py`; right values are worked out from its answers.
"""

import json
import os
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from model_provider import model_provider
from preload import HERE, MIN_NODE, NODE, NODE_TESTS, OLD, PRELOAD, environment, node, recorder
from running import Running
from tallyspan_collector.cli import main

pytestmark = NODE_TESTS

ADA, BOB = "ada", "bob"
EXPECTED = {
    # model: user, input, output, cache read, image output, meters, usage source
    "gpt-image-1": (ADA, 50, 4160, None, 4160, {}, "provider"),
    "gpt-image-1-mini": (ADA, 50, 4160, None, 4160, {}, "provider"),
    "gpt-image-1.5": (ADA, 7, 272, None, 272, {}, "provider"),
    "dall-e-3": (ADA, None, None, None, None, {"images": 2}, "provider"),
    "gemini-2.5-flash-image": (ADA, 9, 1290, None, 1290, {}, "provider"),
    "flux-pro-1.1": (ADA, None, None, None, None, {"images": 1}, "provider"),
    "refused": (ADA, None, None, None, None, {}, "unknown"),
    "unreachable": (ADA, None, None, None, None, {}, "unknown"),
    "tts-1": (BOB, None, None, None, None, {"characters": 7}, "provider"),
    "tts-1-hd": (BOB, None, None, None, None, {"characters": 3}, "provider"),
    "whisper-1": (ADA, None, None, None, None, {"seconds": 7}, "provider"),
    "whisper-1-verbose": (ADA, None, None, None, None, {"seconds": 8.5}, "provider"),
    "gpt-4.1-assistant": (BOB, 912, 282, 512, None, {}, "provider"),
    "gpt-3.5-turbo": (BOB, 40, 8, 16, None, {}, "provider"),
    "mistral-ocr-latest": (ADA, None, None, None, None, {"pages": 3}, "provider"),
    "search": (BOB, None, None, None, None, {"web_search": 1}, "provider"),
    "jina-reranker-v2": (BOB, 815, None, None, None, {}, "provider"),
    "rerank-v3.5": (BOB, None, None, None, None, {"search_units": 2}, "provider"),
    # 30 characters of the question at 4 a token, 4 for the message and 3 for the request; 40 streamed
    "gpt-4o-endless": (ADA, 15, 10, None, None, {}, "estimated"),
    "gpt-4o-axios-endless": (ADA, 15, 10, None, None, {}, "estimated"),
    # stated when the stream began, 380 and 1000 of the cache; 70 characters streamed at 3.5
    "claude-sonnet-4-5-endless": (ADA, 1380, 20, 1000, None, {}, "estimated"),
}


def test_every_call_that_no_other_span_carries_is_in_the_ledger_once_with_its_user(
    collector: Running,
) -> None:
    with model_provider() as port:
        done = node("play.cjs", str(port), env=environment(f"http://{collector.ready.otlp_http}"))
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [200] * 7, "")
    rows = collector.rows(
        "SELECT model_name, request_model, user_id, input_tokens, output_tokens, cache_read_tokens,"
        " output_image_tokens, meters, usage_source, error_type, cost_status, conditions,"
        " provider_name FROM calls"
    )
    by_model = {row["model_name"] or row["request_model"]: row for row in rows}

    assert {
        model: (row["user_id"], row["input_tokens"], row["output_tokens"], row["cache_read_tokens"],
                row["output_image_tokens"], row["meters"], row["usage_source"])
        for model, row in by_model.items()
    } == EXPECTED  # fmt: skip
    assert len(rows) == len(EXPECTED)
    assert {model for model, row in by_model.items() if row["error_type"] == "AbortError"} == {
        model for model in EXPECTED if "endless" in model
    }
    assert by_model["refused"]["cost_status"] == by_model["unreachable"]["cost_status"]
    assert by_model["refused"]["cost_status"] == "not_billed"
    assert by_model["dall-e-3"]["conditions"] == {"picture": "1792x1024 hd"}
    assert {by_model[model]["provider_name"] for model in ("search", "jina-reranker-v2")} == {
        "serper", "jina_ai",
    }  # fmt: skip


def test_the_command_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preload"]) == 0
    assert capsys.readouterr().out == PRELOAD.read_text(encoding="utf-8")


def test_no_text_leaves_and_a_service_that_only_has_to_be_counted_counts_its_chats_too() -> None:
    with recorder() as collector, model_provider() as port:
        done = node(
            "play.cjs", str(port),
            env=environment(collector.url, "all", TALLYSPAN_PRELOAD_KEY="tsk_1"),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    sent = b"".join(collector.bodies).decode()
    of = {span.get("gen_ai.request.model", ""): span for span in collector.spans}
    texts = ("secret", "cat", "capital", "Hello", "answer of", "Grüße", "example.test", "iVBOR")

    assert [text for text in texts if text in sent] == []
    assert collector.keys == {"Bearer tsk_1"}
    assert of["gpt-4o-told-elsewhere"]["gen_ai.usage.prompt_tokens"] == "40"
    assert of["gpt-4o-stream-told-elsewhere"]["gen_ai.usage.prompt_tokens"] == "1200"
    assert of["gpt-4o-stream-told-elsewhere"]["gen_ai.request.stream"] is True
    assert len(collector.spans) == len(EXPECTED) + 2


def test_chats_that_langfuses_spans_bring_to_the_same_collector_are_left_to_them() -> None:
    asked = [
        {"url": f"https://api.openai.com/v1/{path}", "method": "POST", "request": {"user": path},
         "type": "application/json", "answer": '{"usage": {"input_tokens": 3}}'}
        for path in ("chat/completions", "responses", "embeddings", "images/generations")
    ]  # fmt: skip
    with recorder() as collector:
        env = environment(
            collector.url, "all", LANGFUSE_PUBLIC_KEY="librechat", LANGFUSE_SECRET_KEY="tsk_1",
            LANGFUSE_BASE_URL=f"{collector.url}/librechat",
        )  # fmt: skip
        done = node("broken.cjs", "shapes", env=env, stdin=json.dumps(asked))

    assert [span["user.id"] for span in collector.spans] == ["images/generations"]
    assert "chat and embeddings are left to those spans" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("base", "expected"), [("", ["streamed", "whole"]), ("/x", ["whole"])])
def test_a_chat_with_a_model_that_draws_is_langfuses_where_it_reports(
    base: str, expected: list[str]
) -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro-image"
    asked = [
        {"url": f"{url}:{method}", "method": "POST", "request": {"user": name},
         "type": "application/json", "answer": '{"usageMetadata": {"promptTokenCount": 3}}'}
        for name, method in (("streamed", "streamGenerateContent"), ("whole", "generateContent"))
    ]  # fmt: skip
    with recorder() as collector:
        keys = {"LANGFUSE_PUBLIC_KEY": "librechat", "LANGFUSE_SECRET_KEY": "tsk_1"}
        langfuse = {**keys, "LANGFUSE_BASE_URL": collector.url + base} if base else {}
        env = environment(collector.url, "images", **langfuse)
        node("broken.cjs", "shapes", env=env, stdin=json.dumps(asked))

    assert [span["user.id"] for span in collector.spans] == expected


def test_a_stream_that_the_provider_cut_is_told_from_one_that_was_given_up() -> None:
    with recorder() as collector:
        node("broken.cjs", "lost", env=environment(collector.url, "all"))
    said = {span["gen_ai.request.model"]: span for span in collector.spans}

    assert {model: span.get("error.type") for model, span in said.items()} == {
        "cut": "ECONNRESET", "request": "AbortError", "response": "AbortError", "whole": None,
    }  # fmt: skip
    assert {span["tallyspan.estimate.output_characters"] for span in said.values()} == {"8"}


def test_a_key_that_is_refused_is_told_and_what_waits_is_sent_once_it_is_good() -> None:
    with recorder(401, 403) as collector, model_provider() as port:
        done = subprocess.run(
            [NODE, "--require", str(HERE / "fast.cjs"), "--require", str(PRELOAD), "broken.cjs",
             "outage", str(port), "1", "1"],
            env=environment(collector.url), capture_output=True, text=True, timeout=30, check=False,
            cwd=HERE,
        )  # fmt: skip

    assert collector.models == ["dall-e-0"]
    assert done.stderr == (
        "tallyspan-preload: the collector refuses the key of TALLYSPAN_PRELOAD_KEY (401): calls wait,"
        " up to 16 MB of them\n"
    )


def test_calls_of_an_hour_without_a_collector_arrive_once_it_is_back() -> None:
    with recorder(away_seconds=1.2) as collector, model_provider() as port:
        done = subprocess.run(
            [NODE, "--require", str(HERE / "fast.cjs"), "--require", str(PRELOAD), "broken.cjs",
             "outage", str(port), "60", "1200"],
            env=environment(collector.url), capture_output=True, text=True, timeout=30, check=False,
            cwd=HERE,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr

    assert sorted(collector.models) == sorted(f"dall-e-{number}" for number in range(60))
    assert len({span["ids"] for span in collector.spans}) == 60
    pauses = [ms for ms in json.loads(done.stdout)["pauses"] if ms >= 1000]
    assert pauses[:8] == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    assert done.stderr.count("\n") == 1
    assert "the collector does not answer at localhost" in done.stderr


def test_more_than_may_wait_is_counted_and_nothing_keeps_the_process_alive() -> None:
    began = time.monotonic()
    done = node("broken.cjs", "flood", "30000", env=environment("http://127.0.0.1:9"))
    counters = json.loads(done.stdout)

    assert (done.returncode, time.monotonic() - began < 15) == (0, True)
    assert (counters["spans"], counters["sent"], counters["kept"]) == (30_000, 0, 0)
    assert 5_000 < counters["dropped"] < 15_000
    assert [line.partition(" collector")[0] for line in done.stderr.splitlines()[:1]] == [
        "tallyspan-preload: the"
    ]
    assert "the queue is full: newer calls are not counted" in done.stderr
    assert "could not be sent any more" in done.stderr


def test_a_collector_that_never_answers_keeps_no_process_alive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, model_provider() as port:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        done = node("broken.cjs", "linger", str(port), env=environment(url))

    assert (done.returncode, time.monotonic() - began < 5) == (0, True)
    assert "1 calls could not be sent any more" in done.stderr


def test_what_waits_when_the_process_ends_is_sent_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "waiting.jsonl"
    with model_provider() as port:
        away = environment("http://127.0.0.1:9", TALLYSPAN_PRELOAD_FILE=str(file))
        node("broken.cjs", "leave", str(port), env=away)
        assert (file.stat().st_mode & 0o777, len(file.read_text().splitlines())) == (0o600, 1)
        with recorder() as collector:
            back = environment(collector.url, TALLYSPAN_PRELOAD_FILE=str(file))
            node("broken.cjs", "wait", "500", env=back)

    assert collector.models == ["dall-e-3"]
    assert not file.exists()
    assert list(tmp_path.iterdir()) == []


def test_failures_of_ours_are_told_once_a_kind_and_at_last_it_stops() -> None:
    with recorder() as collector, model_provider() as port:
        done = node("broken.cjs", "nonsense", str(port), env=environment(collector.url))
    counters = json.loads(done.stdout)

    assert done.returncode == 0
    assert (counters["isWatching"], counters["failures"] > 1000) == (False, True)
    assert len(done.stderr.splitlines()) == len(set(done.stderr.splitlines())) <= 8
    assert "could not follow undici:request:create" in done.stderr
    assert "nothing is counted any more" in done.stderr


def test_answers_of_many_megabytes_are_read_at_their_ends() -> None:
    with recorder() as collector:
        done = node("broken.cjs", "large", env=environment(collector.url))
    counters = json.loads(done.stdout)

    assert [span["gen_ai.usage.output_tokens"] for span in collector.spans] == ["6"] * 3
    # both ends of three answers, and a chunk more each
    assert counters["most"] <= 3 * (2 * 256 + 64) * 1024
    assert (counters["kept"], counters["unread"], done.stderr) == (0, 0, "")


def test_what_the_collector_refuses_is_counted_and_not_tried_again() -> None:
    with recorder(413) as collector, model_provider() as port:
        done = node("broken.cjs", "outage", str(port), "1", "400", env=environment(collector.url))
    counters = json.loads(done.stdout)

    assert (counters["spans"], counters["sent"], counters["dropped"]) == (1, 0, 1)
    assert (collector.tries, collector.models) == (1, [])
    assert "refused calls with status 413: they are not counted" in done.stderr


def test_an_answer_is_read_the_same_wherever_the_network_cuts_it() -> None:
    with recorder() as collector:
        done = node("broken.cjs", "cuts", env=environment(collector.url, "all"))
    assert done.returncode == 0, done.stderr
    timed = {"ids", "gen_ai.response.time_to_first_chunk"}
    readings = Counter(
        tuple(sorted((key, value) for key, value in span.items() if key not in timed))
        for span in collector.spans
    )
    messages, packed, seconds, packed_seconds = json.loads(done.stdout)
    by_answer = {
        (values["gen_ai.operation.name"], values.get("gen_ai.request.model", "")): (
            values.get("gen_ai.usage.input_tokens"), values.get("gen_ai.usage.output_tokens"),
            values.get("tallyspan.meter.seconds"), calls,
        )
        for values, calls in ((dict(reading), calls) for reading, calls in readings.items())
    }  # fmt: skip

    assert by_answer == {
        ("chat", ""): ("7", "25", None, messages + packed),  # 3 and 4 of the cache
        ("generate_content", ""): (None, None, "7", seconds),
        ("generate_content", "whisper"): (None, None, "7", packed_seconds),
    }


def test_of_two_copies_one_counts(tmp_path: Path) -> None:
    copy = tmp_path / PRELOAD.name
    copy.write_bytes(PRELOAD.read_bytes())
    with recorder() as collector, model_provider() as port:
        done = node("--require", str(copy), "broken.cjs", "outage", str(port), "1", "1",
                    env=environment(collector.url))  # fmt: skip

    assert collector.models == ["dall-e-0"]
    assert done.stderr == (
        f"tallyspan-preload: is loaded already, from {PRELOAD}: this copy counts nothing\n"
    )


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, ""),
        ({"TALLYSPAN_PRELOAD": "images,speach", "TALLYSPAN_PRELOAD_URL": "http://x:1"},
         "TALLYSPAN_PRELOAD: there is no 'speach'; there are images, speech, "),
        ({"TALLYSPAN_PRELOAD": "all"}, "TALLYSPAN_PRELOAD_URL must be the address of the collector"),
        ({"TALLYSPAN_PRELOAD": "all", "TALLYSPAN_PRELOAD_URL": "tallyspan:4318"},
         "TALLYSPAN_PRELOAD_URL must be the address of the collector"),
    ],
    ids=["off", "unknown group", "no address", "no scheme"],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_one_line(settings: dict[str, str], line: str) -> None:
    done = node("broken.cjs", "off", env={"PATH": os.environ["PATH"], **settings})
    is_on = "speach" in settings.get("TALLYSPAN_PRELOAD", "")

    assert (done.returncode, done.stdout) == (0, f"{str(is_on).lower()}\n")
    assert done.stderr.count("\n") == bool(line)
    assert line in done.stderr


@pytest.mark.skipif(
    not OLD, reason=f"the Node on the path is {MIN_NODE} or later, or there is none"
)
def test_an_old_node_gets_one_line_and_is_left_alone() -> None:
    env = environment("http://127.0.0.1:9", "all")
    done = node("-e", "console.log('runs')", env=env, program=OLD)

    assert (done.returncode, done.stdout) == (0, "runs\n")
    assert done.stderr.startswith("tallyspan-preload: needs Node 22.12 or later, this is v")
    assert done.stderr.count("\n") == 1
