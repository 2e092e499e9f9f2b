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
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from replay import replaying

from tallyspan_collector.demo.recordings import Recording, load

CASES = {
    "openai.chat": {"chat_reasoning": "test_stop_settings[openai]"},
    "anthropic.messages": {"messages_cached": "anthropic_cache_real_api.yaml#1"},
    "gemini.generate": {"generate_cached": "test_google_model_cached_content.yaml#1"},
}


def agent_framework(base: str, recording: Recording) -> None:
    from agent_framework.observability import enable_instrumentation
    from agent_framework.openai import OpenAIChatCompletionClient

    enable_instrumentation()
    client = OpenAIChatCompletionClient(
        model=recording.request_body["model"], api_key="x", base_url=f"{base}/v1"
    )
    asyncio.run(client.as_agent(name="support", instructions="Be brief.").run("hello"))


def semantic_kernel(base: str, recording: Recording) -> None:
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
    asyncio.run(service.get_chat_message_contents(history, OpenAIChatPromptExecutionSettings()))


def smolagents(base: str, recording: Recording) -> None:
    from openinference.instrumentation.smolagents import SmolagentsInstrumentor
    from smolagents import OpenAIServerModel

    SmolagentsInstrumentor().instrument(tracer_provider=trace.get_tracer_provider())
    model = OpenAIServerModel(
        model_id=recording.request_body["model"], api_base=f"{base}/v1", api_key="x"
    )
    model.generate([{"role": "user", "content": "hello"}])


def haystack(base: str, recording: Recording) -> None:
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


def autogen(base: str, recording: Recording) -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    client = OpenAIChatCompletionClient(
        model=recording.request_body["model"], base_url=f"{base}/v1", api_key="x"
    )
    asyncio.run(AssistantAgent("support", client).run(task="hello"))


def logfire(base: str, recording: Recording) -> None:
    import logfire as sdk
    from openai import OpenAI

    sdk.configure(send_to_logfire=False, console=False, additional_span_processors=[PROCESSOR])
    client = OpenAI(api_key="x", base_url=f"{base}/v1")
    sdk.instrument_openai(client)
    client.chat.completions.create(
        model=recording.request_body["model"], messages=[{"role": "user", "content": "hello"}]
    )


def langsmith(base: str, recording: Recording) -> None:
    import os

    os.environ |= {"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_TRACING": "true",
                   "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_API_KEY": "x",
                   "LANGSMITH_ENDPOINT": base}  # fmt: skip
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=recording.request_body["model"], base_url=f"{base}/v1", api_key="x")
    model.invoke("hello", config={"metadata": {"user_id": "ada", "session_id": "c-7"}})
    from langchain_core.tracers.langchain import wait_for_all_tracers

    wait_for_all_tracers()
    time.sleep(3)


def google_adk(base: str, recording: Recording) -> None:
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


def _litellm(base: str, recording: Recording) -> None:
    import litellm as sdk
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    sdk.callbacks = [
        OpenTelemetry(
            OpenTelemetryConfig(exporter="in_memory"), tracer_provider=trace.get_tracer_provider()
        )
    ]
    provider = recording.expected["provider"]
    sdk.completion(
        model=f"{provider}/{recording.request_body['model']}", api_key="x", user="ada",
        api_base=f"{base}/v1" if provider == "openai" else base,
        messages=[{"role": "user", "content": "hello"}],
    )  # fmt: skip
    time.sleep(2)  # its callbacks run on a thread of their own


def litellm_v1(base: str, recording: Recording) -> None:
    _litellm(base, recording)


def litellm_v2(base: str, recording: Recording) -> None:
    import os

    os.environ["LITELLM_OTEL_V2"] = "true"
    import litellm as sdk

    sdk.callbacks = ["otel"]
    _litellm(base, recording)


PACKAGES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "agent_framework": (agent_framework, "agent-framework-core", ("openai.chat",)),
    "semantic_kernel": (semantic_kernel, "semantic-kernel", ("openai.chat",)),
    "smolagents": (smolagents, "openinference-instrumentation-smolagents", ("openai.chat",)),
    "haystack": (haystack, "openinference-instrumentation-haystack", ("openai.chat",)),
    "autogen": (autogen, "autogen-agentchat", ("openai.chat",)),
    "logfire_openai": (logfire, "logfire", ("openai.chat",)),
    "langsmith": (langsmith, "langsmith", ("openai.chat",)),
    "google_adk": (google_adk, "google-adk", ("gemini.generate",)),
    "litellm_v1": (litellm_v1, "litellm", ("openai.chat", "anthropic.messages")),
}
SAYS_NO_CALLS = ("autogen",)  # spans of agents; calls are left to the client's instrumentation
EXPORTER = InMemorySpanExporter()
PROCESSOR = SimpleSpanProcessor(EXPORTER)


def capture(name: str) -> None:
    drive, package, apis = PACKAGES[name]
    if name != "logfire_openai":
        provider = TracerProvider(resource=Resource({"service.name": "capture"}))
        provider.add_span_processor(PROCESSOR)
        trace.set_tracer_provider(provider)
    for api in apis:
        for case, words in CASES[api].items():
            recording = next(r for r in load() if r.expected["api"] == api and words in r.id)
            EXPORTER.clear()
            with replaying() as replay:
                replay.recording = recording
                try:
                    drive(f"http://127.0.0.1:{replay.port}", recording)
                except Exception as error:  # noqa: BLE001  the next may work
                    print(name, case, repr(error)[:600])
                print(name, case, replay.asked, len(EXPORTER.get_finished_spans()))
                if not replay.answered:
                    continue
            spans = EXPORTER.get_finished_spans()
            said = recording.expected
            if not spans:
                continue
            (HERE / name).mkdir(exist_ok=True)
            (HERE / name / f"{case}.json").write_text(
                json.dumps(
                    {
                        "package": f"{package} {version(package)}",
                        "captured": datetime.now(UTC).date().isoformat(),
                        "recording": recording.id,
                        "expected": []
                        if name in SAYS_NO_CALLS
                        else [
                            {key: said[key] for key in ("input_tokens", "output_tokens", "model")}
                        ],
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
