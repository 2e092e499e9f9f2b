"""Sound and pictures are sent as forms with files; the model is said nowhere else."""

import asyncio
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scripted_server import Script, serving, sized
from tallyspan import semconv

SOUND = b"ID3\r\n\r\nname=" + bytes(range(256)) * 400
FORM = {"model": "gpt-4o-transcribe", "stream": "true", "user": "u-7"}
ANSWER = (
    b'{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":4,'
    b'"input_token_details":{"audio_tokens":14}}}'
)
PATH = "/v1/audio/transcriptions"


@pytest.fixture
def server() -> Iterator[str]:
    with serving(Script(sized(ANSWER, b"content-type: application/json\r\n"))) as address:
        yield address


def with_openai(address: str) -> None:
    with openai.OpenAI(base_url=address + "/v1", api_key="k", max_retries=0) as client:
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.mp3", SOUND), extra_body=FORM
        )


def with_httpx(address: str) -> None:
    httpx.post(address + PATH, data=FORM, files={"file": SOUND})


def with_httpx2(address: str) -> None:
    httpx2.post(address + PATH, data=FORM, files={"file": SOUND})


def with_requests(address: str) -> None:
    requests.post(address + PATH, data=FORM, files={"file": SOUND}, timeout=10)


def with_aiohttp(address: str) -> None:
    form = aiohttp.FormData(FORM)
    form.add_field("file", SOUND, filename="a.mp3")
    asyncio.run(posted(address, form))


def with_aiohttp_and_a_mapping(address: str) -> None:
    asyncio.run(posted(address, {**FORM, "file": BytesIO(SOUND)}))


async def posted(address: str, form: Any) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(address + PATH, data=form) as answer,
    ):
        await answer.read()


@pytest.mark.parametrize(
    "send",
    [
        with_openai,
        with_httpx,
        with_httpx2,
        with_requests,
        with_aiohttp,
        with_aiohttp_and_a_mapping,
    ],
)
def test_a_form_says_its_model_and_its_user(
    send: Callable[[str], None], server: str, spans: InMemorySpanExporter
) -> None:
    send(server)

    (span,) = spans.get_finished_spans()
    said = dict(span.attributes or {})
    assert said[semconv.REQUEST_MODEL] == "gpt-4o-transcribe"
    assert said[semconv.USER_ID] == "u-7"
    assert said[semconv.REQUEST_STREAM] is True
    assert said["gen_ai.usage.audio.input_tokens"] == 14


def test_a_form_that_names_no_model_is_no_call_for_a_host_we_do_not_know(
    server: str, spans: InMemorySpanExporter
) -> None:
    httpx.post(server + "/images/edits", data={"title": "holiday"}, files={"file": SOUND})

    assert spans.get_finished_spans() == ()
