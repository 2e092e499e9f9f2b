"""Sends recorded requests through the providers' own SDKs, at their own hosts' addresses.

Only the last step is ours: a transport that opens its connection to the local provider instead.
The SDKs, and so the instrumentation, see the real URLs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as gemini_errors

from tallyspan_collector.demo.provider import REPLAY_HEADER
from tallyspan_collector.demo.recordings import Recording

ERRORS = (openai.APIError, anthropic.APIError, gemini_errors.APIError)
"""What the SDKs raise for a recorded refusal."""

_KEY = "demo"  # never leaves this machine


class ToLocalProvider(httpx2.HTTPTransport):
    """Opens connections to a port of this machine, whatever host the URL names."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request to the local provider."""
        local = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return super().handle_request(
            httpx2.Request(
                request.method,
                local,
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )


class Sdks:
    """Clients of the three SDKs, all of which end at the local provider."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._http = httpx2.Client(transport=ToLocalProvider(port))

    def send(self, recording: Recording) -> None:
        """Make the recorded call and read its answer to the end. Raises one of `ERRORS`."""
        api = str(recording.expected["api"])
        ways: dict[str, Callable[[Recording], Any]] = {
            "openai.chat": self._openai_chat,
            "openai.responses": self._openai_responses,
            "openai.embeddings": self._openai_embeddings,
            "anthropic.messages": self._anthropic,
            "gemini.generate": self._gemini,
        }
        answer = ways[api](recording)
        if recording.is_stream:
            for _ in answer:
                pass

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _openai(self, recording: Recording, suffix: str) -> openai.OpenAI:
        base = recording.origin + recording.path.removesuffix(suffix)
        if recording.expected["provider"] == "azure.ai.openai":
            return openai.AzureOpenAI(
                base_url=base,
                api_version="2026-01-01",
                api_key=_KEY,
                http_client=self._http,
                max_retries=0,
            )
        return openai.OpenAI(base_url=base, api_key=_KEY, http_client=self._http, max_retries=0)

    def _openai_chat(self, recording: Recording) -> Any:
        return self._openai(recording, "/chat/completions").chat.completions.create(
            **_arguments(recording, "model", "messages", "stream")
        )

    def _openai_responses(self, recording: Recording) -> Any:
        return self._openai(recording, "/responses").responses.create(
            **_arguments(recording, "model", "input", "stream")
        )

    def _openai_embeddings(self, recording: Recording) -> Any:
        return self._openai(recording, "/embeddings").embeddings.create(
            **_arguments(recording, "model", "input", "encoding_format")
        )

    def _anthropic(self, recording: Recording) -> Any:
        client = anthropic.Anthropic(
            base_url=recording.origin, api_key=_KEY, http_client=self._http, max_retries=0
        )
        arguments = _arguments(recording, "model", "messages", "max_tokens", "stream")
        if "beta=true" in recording.url:
            return client.beta.messages.create(**arguments)
        return client.messages.create(**arguments)

    def _gemini(self, recording: Recording) -> Any:
        version, _, rest = recording.path.lstrip("/").partition("/models/")
        client = genai.Client(
            api_key=_KEY,
            http_options=genai.types.HttpOptions(
                base_url=recording.origin,
                api_version=version,
                headers={REPLAY_HEADER: recording.id},
                client_args={"transport": ToLocalProvider(self._port)},
            ),
        )
        send = (
            client.models.generate_content_stream
            if recording.is_stream
            else client.models.generate_content
        )
        answer = send(model=rest.partition(":")[0], contents="replay")
        return _draining(client, answer) if recording.is_stream else answer


def _arguments(recording: Recording, *typed: str) -> dict[str, Any]:
    body = recording.request_body
    return {
        **{name: body[name] for name in typed if name in body},
        "extra_body": {key: value for key, value in body.items() if key not in typed},
        "extra_headers": {REPLAY_HEADER: recording.id},
    }


def _draining(client: genai.Client, answer: Any) -> Iterator[Any]:
    """Yield the answer's parts; the client must live as long as its stream is read."""
    with client:
        yield from answer


@contextmanager
def sdks(port: int) -> Iterator[Sdks]:
    """Yield clients that talk to the local provider on the port."""
    result = Sdks(port)
    try:
        yield result
    finally:
        result.close()
