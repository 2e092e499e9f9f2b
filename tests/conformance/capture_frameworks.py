"""Captures what frameworks say of a recorded call: `python capture_frameworks.py NAME ...`.

Run with a Python that has the framework (`python -m pip install` what `PACKAGES` names), and
`instrumentation` and `collector` on PYTHONPATH. Writes NAME/CASE.json beside this file.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from capture import HERE, as_json
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from replay import replaying

from tallyspan_collector.demo.recordings import Recording, load

CASES = {
    # case: (API, words in the recording's id, whether it is asked for as a stream)
    "chat_reasoning": ("openai.chat", "test_stop_settings[openai]", False),
    "chat_stream": ("openai.chat", "test_stop_settings[openai]", True),
    "chat_error": ("openai.chat", "test_model_name_suggestion[openai-chat]", False),
    "embeddings_plain": ("openai.embeddings", "TestOpenAI.test_instrumentation", False),
    "messages_cached": ("anthropic.messages", "anthropic_cache_real_api.yaml#1", False),
    "messages_stream": ("anthropic.messages", "native_tool_search_streaming", True),
    "messages_error": ("anthropic.messages", "test_model_name_suggestion[anthropic]", False),
    "generate_cached": ("gemini.generate", "test_google_model_cached_content.yaml#1", False),
    "generate_error": ("gemini.generate", "test_model_name_suggestion[google]", False),
}
CHATS = ("chat_reasoning", "chat_stream", "chat_error")
MESSAGES = ("messages_cached", "messages_stream", "messages_error")


def agent_framework(base: str, recording: Recording, is_stream: bool) -> None:
    from agent_framework.observability import enable_instrumentation
    from agent_framework.openai import OpenAIChatCompletionClient

    enable_instrumentation()
    client = OpenAIChatCompletionClient(
        model=recording.request_body["model"], api_key="x", base_url=f"{base}/v1"
    )
    agent = client.as_agent(name="support", instructions="Be brief.")

    async def go() -> None:
        if is_stream:
            async for _ in agent.run("hello", stream=True):
                pass
        else:
            await agent.run("hello")

    asyncio.run(go())


def semantic_kernel(base: str, recording: Recording, is_stream: bool) -> None:
    import os

    os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"
    from openai import AsyncOpenAI
    from semantic_kernel.connectors.ai.open_ai import (
        OpenAIChatCompletion,
        OpenAIChatPromptExecutionSettings,
    )
    from semantic_kernel.contents import ChatHistory

    service = OpenAIChatCompletion(
        ai_model_id=recording.request_body["model"],
        async_client=AsyncOpenAI(api_key="x", base_url=f"{base}/v1"),
    )
    history = ChatHistory()
    history.add_user_message("hello")
    settings = OpenAIChatPromptExecutionSettings()

    async def go() -> None:
        if is_stream:
            async for _ in service.get_streaming_chat_message_contents(history, settings):
                pass
        else:
            await service.get_chat_message_contents(history, settings)

    asyncio.run(go())


def smolagents(base: str, recording: Recording, is_stream: bool) -> None:
    from openinference.instrumentation.smolagents import SmolagentsInstrumentor
    from smolagents import OpenAIServerModel

    SmolagentsInstrumentor().instrument(tracer_provider=trace.get_tracer_provider())
    model = OpenAIServerModel(
        model_id=recording.request_body["model"], api_base=f"{base}/v1", api_key="x"
    )
    model.generate([{"role": "user", "content": "hello"}])


def haystack(base: str, recording: Recording, is_stream: bool) -> None:
    from haystack import Pipeline
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret
    from openinference.instrumentation.haystack import HaystackInstrumentor

    HaystackInstrumentor().instrument(tracer_provider=trace.get_tracer_provider())
    pipeline = Pipeline()
    pipeline.add_component(
        "llm",
        OpenAIChatGenerator(
            model=recording.request_body["model"], api_base_url=f"{base}/v1",
            api_key=Secret.from_token("x"),
        ),
    )  # fmt: skip
    pipeline.run({"llm": {"messages": [ChatMessage.from_user("hello")]}})


def autogen(base: str, recording: Recording, is_stream: bool) -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    client = OpenAIChatCompletionClient(
        model=recording.request_body["model"], base_url=f"{base}/v1", api_key="x"
    )
    asyncio.run(AssistantAgent("support", client).run(task="hello"))


def logfire(base: str, recording: Recording, is_stream: bool) -> None:
    import logfire as sdk
    from openai import OpenAI

    if not CONFIGURED:
        sdk.configure(send_to_logfire=False, console=False, additional_span_processors=[PROCESSOR])
        CONFIGURED.append(sdk)
    client = OpenAI(api_key="x", base_url=f"{base}/v1", max_retries=0)
    sdk.instrument_openai(client)
    answer = client.chat.completions.create(
        model=recording.request_body["model"], messages=[{"role": "user", "content": "hello"}],
        **({"stream": True, "stream_options": {"include_usage": True}} if is_stream else {}),
    )  # fmt: skip
    if is_stream:
        list(answer)


def langsmith(base: str, recording: Recording, is_stream: bool) -> None:
    import os

    os.environ |= {"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_TRACING": "true",
                   "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_API_KEY": "x",
                   "LANGSMITH_ENDPOINT": base}  # fmt: skip
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model=recording.request_body["model"], base_url=f"{base}/v1", api_key="x",
        stream_usage=True, max_retries=0,
    )  # fmt: skip
    config = {"metadata": {"user_id": "ada", "session_id": "c-7"}}
    try:
        list(model.stream("hello", config)) if is_stream else model.invoke("hello", config)
    except Exception as error:  # noqa: BLE001  its trace is what is wanted
        print(repr(error)[:80])
    from langchain_core.tracers.langchain import wait_for_all_tracers

    wait_for_all_tracers()
    time.sleep(3)


def google_adk(base: str, recording: Recording, is_stream: bool) -> None:
    import os

    os.environ |= {"GOOGLE_GEMINI_BASE_URL": base, "GOOGLE_API_KEY": "x",
                   "GOOGLE_GENAI_USE_VERTEXAI": "false"}  # fmt: skip
    from google.adk.agents import Agent
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    runner = InMemoryRunner(Agent(name="support", model=recording.request_body.get("model") or
                                  "gemini-2.5-flash"), app_name="shop")  # fmt: skip

    async def go() -> None:
        session = await runner.session_service.create_session(app_name="shop", user_id="ada")
        async for _ in runner.run_async(
            user_id="ada",
            session_id=session.id,
            new_message=types.Content(role="user", parts=[types.Part(text="hello")]),
        ):
            pass

    asyncio.run(go())


def _litellm(base: str, recording: Recording, is_stream: bool, callback: Any) -> None:
    import litellm as sdk

    sdk.callbacks = [callback]
    provider = recording.expected["provider"]
    named = {
        "model": f"{provider}/{recording.request_body['model']}", "api_key": "x", "user": "ada",
        "api_base": f"{base}/v1" if provider == "openai" else base, "max_retries": 0,
    }  # fmt: skip

    async def go() -> None:
        try:
            if recording.expected["api"] == "openai.embeddings":
                await sdk.aembedding(input=["hello"], **named)
            else:
                answer = await sdk.acompletion(
                    messages=[{"role": "user", "content": "hello"}], **named,
                    **({"stream": True, "stream_options": {"include_usage": True}}
                       if is_stream else {}),
                )  # fmt: skip
                if is_stream:
                    async for _ in answer:
                        pass
        except Exception as error:  # noqa: BLE001  its trace is what is wanted
            print(repr(error)[:80])
        await asyncio.sleep(2)  # its callbacks run beside the call

    asyncio.run(go())


def litellm_v1(base: str, recording: Recording, is_stream: bool) -> None:
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    _litellm(base, recording, is_stream, OpenTelemetry(
        OpenTelemetryConfig(exporter="in_memory"), tracer_provider=trace.get_tracer_provider()
    ))  # fmt: skip


def litellm_v2(base: str, recording: Recording, is_stream: bool) -> None:
    import os

    os.environ["LITELLM_OTEL_V2"] = "true"
    from litellm.integrations.otel import OpenTelemetryV2Config
    from litellm.integrations.otel.logger import build_otel_v2_logger

    _litellm(base, recording, is_stream, build_otel_v2_logger(
        OpenTelemetryV2Config(), tracer_provider=trace.get_tracer_provider()
    ))  # fmt: skip


def _pydantic_ai(base: str, recording: Recording, is_stream: bool) -> None:
    from pydantic_ai import Agent, InstrumentationSettings

    if recording.expected["provider"] == "openai":
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        client = AsyncOpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0)
        model: Any = OpenAIChatModel(
            recording.request_body["model"], provider=OpenAIProvider(openai_client=client)
        )
    else:
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        other = AsyncAnthropic(base_url=base, api_key="x", max_retries=0)
        model = AnthropicModel(
            recording.request_body["model"], provider=AnthropicProvider(anthropic_client=other)
        )
    settings = InstrumentationSettings(
        tracer_provider=trace.get_tracer_provider(), include_content=False
    )
    Agent.instrument_all(settings)
    agent = Agent(model, name="support")

    async def go() -> None:
        if is_stream:
            async with agent.run_stream("hello") as answer:
                async for _ in answer.stream_text():
                    pass
        else:
            await agent.run("hello")

    asyncio.run(go())


PACKAGES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "agent_framework": (agent_framework, "agent-framework-core", CHATS),
    "semantic_kernel": (semantic_kernel, "semantic-kernel", CHATS),
    "smolagents": (smolagents, "openinference-instrumentation-smolagents", CHATS[:1]),
    "haystack": (haystack, "openinference-instrumentation-haystack", CHATS[:1]),
    "autogen": (autogen, "autogen-agentchat", CHATS[:1]),
    "logfire_openai": (logfire, "logfire", CHATS),
    "langsmith": (langsmith, "langsmith", CHATS),
    "google_adk": (google_adk, "google-adk", ("generate_cached", "generate_error")),
    "litellm_v1": (litellm_v1, "litellm", (*CHATS, *MESSAGES, "embeddings_plain")),
    "litellm_v2": (litellm_v2, "litellm", (*CHATS, *MESSAGES, "embeddings_plain")),
    "pydantic_ai_openai": (_pydantic_ai, "pydantic-ai-slim", CHATS[1:]),
    "pydantic_ai_anthropic": (_pydantic_ai, "pydantic-ai-slim", MESSAGES),
    "pydantic_ai_1_50": (_pydantic_ai, "pydantic-ai-slim", (*CHATS, *MESSAGES)),
}
SAYS_NO_CALLS = ("autogen",)  # spans of agents; calls are left to the client's instrumentation
CONFIGURED: list[Any] = []
EXPORTER = InMemorySpanExporter()
PROCESSOR = SimpleSpanProcessor(EXPORTER)


def capture(name: str) -> None:
    drive, package, cases = PACKAGES[name]
    if name != "logfire_openai":
        provider = TracerProvider(resource=Resource({"service.name": "capture"}))
        provider.add_span_processor(PROCESSOR)
        trace.set_tracer_provider(provider)
    for case in cases:
        api, words, is_stream = CASES[case]
        recording = next(r for r in load() if r.expected["api"] == api and words in r.id)
        EXPORTER.clear()
        with replaying() as replay:
            replay.recording = recording
            try:
                drive(f"http://127.0.0.1:{replay.port}", recording, is_stream)
            except Exception as error:  # noqa: BLE001  the next may work
                print(name, case, repr(error)[:300])
            spans = EXPORTER.get_finished_spans()
            print(name, case, replay.asked, len(spans))
        if replay.answered and spans:
            write(name, case, f"{package} {version(package)}", recording, spans)


def write(
    name: str, case: str, package: str, recording: Recording, spans: tuple[ReadableSpan, ...]
) -> None:
    said = recording.expected
    call = {key: said.get(key) for key in ("input_tokens", "output_tokens")}
    if "model" in said and recording.status == 200:
        call["model"] = said["model"]
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / f"{case}.json").write_text(
        json.dumps(
            {
                "package": package,
                "captured": datetime.now(UTC).date().isoformat(),
                "recording": recording.id,
                "expected": [] if name in SAYS_NO_CALLS else [call],
                "spans": [as_json(span) for span in spans],
            },
            indent=1,
            default=str,
        )
        + "\n"
    )


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        capture(asked)
