"""The file that says whose the embeddings of LibreChat's RAG service are.

The service itself is not among the packages of the tests: docs/librechat.md has what was measured with
it. Here an application stands for it that asks the same client in the same way.
"""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt
import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from scripted_server import Script, serving, sized

FILE = Path(__file__).parents[2] / "deploy/librechat_rag.py"
SECRET = "a secret that LibreChat and its RAG service share"
ANSWER = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}] * 2,
    "usage": {"prompt_tokens": 51, "total_tokens": 51},
}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    answer = sized(json.dumps(ANSWER).encode(), b"content-type: application/json\r\n")
    with serving(Script(answer)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

        def embed(_: Request) -> Response:  # on a thread of Starlette's
            chunks = ["first chunk", "second chunk"]
            client.embeddings.create(model="text-embedding-3-small", input=chunks)
            return JSONResponse({"status": True})

        main: Any = ModuleType("main")
        main.app = Starlette(routes=[Route("/embed", embed, methods=["POST"])])
        monkeypatch.setitem(sys.modules, "main", main)
        monkeypatch.setenv("JWT_SECRET", SECRET)
        with TestClient(runpy.run_path(str(FILE))["app"]) as test_client:
            yield test_client


@pytest.mark.parametrize(
    ("secret", "user"), [(SECRET, "65f0ada"), ("of somebody else, who invents his users", None)]
)
def test_a_batch_of_chunks_is_one_call_of_the_user_in_the_token_that_librechat_signed(
    service: TestClient, spans: InMemorySpanExporter, secret: str, user: str | None
) -> None:
    token = jwt.encode({"id": "65f0ada"}, secret, "HS256")
    assert service.post("/embed", headers={"Authorization": f"Bearer {token}"}).status_code == 200

    [span] = [
        each
        for each in spans.get_finished_spans()
        if each.attributes and "gen_ai.operation.name" in each.attributes
    ]
    attributes = span.attributes or {}
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.usage.input_tokens"] == 51
    assert attributes.get("user.id") == user


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}])
def test_a_request_without_a_token_is_served_and_nobodys(
    service: TestClient, spans: InMemorySpanExporter, headers: dict[str, str]
) -> None:
    assert service.post("/embed", headers=headers).status_code == 200
    assert not any("user.id" in (each.attributes or {}) for each in spans.get_finished_spans())
