"""Captures what real packages emit for a recorded call: `python capture.py FOLDER[:CASE,...] ...`.

Needs a Python that has the packages of `INSTRUMENTORS` (none of them is a dependency of the project)
and `instrumentation` and `collector` on PYTHONPATH. Writes FOLDER/CASE.json beside this file: the
spans without prompts and answers, which package in which version made them, and what the recording
says of the call, worked out without our readers. One folder a process: some SDKs look for the
global tracer provider once.
"""

import importlib
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tallyspan_collector.demo.provider import REPLAY_HEADER, serving
from tallyspan_collector.demo.recordings import Recording, load
from tallyspan_collector.read.otlp import _CONTENT

HERE = Path(__file__).parent
KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
LONGEST_TEXT = 400
_SAID = ("input_tokens", "output_tokens", "model", "response_id")

INSTRUMENTORS = {
    # folder: (package, module, class)
    "genai_openai": ("opentelemetry-instrumentation-genai-openai",
                     "opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    "genai_anthropic": ("opentelemetry-instrumentation-genai-anthropic",
                        "opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
    "openai_v2": ("opentelemetry-instrumentation-openai-v2",
                  "opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    "openllmetry_openai": ("opentelemetry-instrumentation-openai",
                           "opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "openllmetry_anthropic": ("opentelemetry-instrumentation-anthropic",
                              "opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
    "openinference_openai": ("openinference-instrumentation-openai",
                             "openinference.instrumentation.openai", "OpenAIInstrumentor"),
    "openinference_anthropic": ("openinference-instrumentation-anthropic",
                                "openinference.instrumentation.anthropic",
                                "AnthropicInstrumentor"),
    # the newer names, which OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental asks for
    "openai_v2_latest": ("opentelemetry-instrumentation-openai-v2",
                         "opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    "openai_v2_2_0": ("opentelemetry-instrumentation-openai-v2",
                      "opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    "openllmetry_openai_0_40": ("opentelemetry-instrumentation-openai",
                                "opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    "openllmetry_anthropic_0_40": ("opentelemetry-instrumentation-anthropic",
                                   "opentelemetry.instrumentation.anthropic",
                                   "AnthropicInstrumentor"),
    "anthropic": ("anthropic", "", ""),
    "langfuse_openai": ("langfuse", "", ""),
    "langfuse_openai_3_3": ("langfuse", "", ""),
    "pydantic_ai_openai": ("pydantic-ai-slim", "", ""),
    "pydantic_ai_anthropic": ("pydantic-ai-slim", "", ""),
    "openlit_openai": ("openlit", "openlit.instrumentation.openai", "OpenAIInstrumentor"),
    "openlit_anthropic": ("openlit", "openlit.instrumentation.anthropic",
                          "AnthropicInstrumentor"),
    "langchain_openllmetry": ("opentelemetry-instrumentation-langchain",
                              "opentelemetry.instrumentation.langchain",
                              "LangchainInstrumentor"),
    "langchain_openinference": ("openinference-instrumentation-langchain",
                                "openinference.instrumentation.langchain",
                                "LangChainInstrumentor"),
    "litellm": ("litellm", "", ""),
}  # fmt: skip


def recordings(api: str) -> dict[str, Recording]:
    """Return one recording of each kind: plain, stream, aborted, error, with reasoning, a cache."""
    found: dict[str, Recording] = {}
    for each in load():
        said = each.expected
        if said["api"] != api or said["provider"] not in {"openai", "anthropic"}:
            continue
        if each.status >= 400:
            found.setdefault("error", each)
            continue
        if not said.get("usage_reported") or said.get("sub_calls"):
            continue
        kinds = ["stream" if each.is_stream else "plain"]
        if said.get("cache_read") and not each.is_stream:
            kinds.insert(0, "cached")
        if said.get("cache_write"):
            kinds.insert(0, "cache_written")
        if said.get("reasoning") and not each.is_stream:
            kinds.insert(0, "reasoning")
        for kind in kinds:
            if kind not in found:
                found[kind] = each
                break
    if "stream" in found:
        found["aborted"] = found["stream"]
    if "plain" in found:
        found["script"] = found["plain"]  # nothing is around the call
    return found


def arguments(recording: Recording, *typed: str) -> dict[str, Any]:
    body = recording.request_body
    return {
        **{name: body[name] for name in typed if name in body},
        "extra_body": {key: value for key, value in body.items() if key not in typed},
        "extra_headers": {REPLAY_HEADER: recording.id},
    }


def call_openai(recording: Recording, port: int, kind: str, module: Any = None) -> None:
    base = f"http://127.0.0.1:{port}/v1"
    client = (module or importlib.import_module("openai")).OpenAI(
        base_url=base, api_key="x", max_retries=0
    )
    match recording.expected["api"]:
        case "openai.chat":
            answer = client.chat.completions.create(
                **arguments(recording, "model", "messages", "stream", "stream_options")
            )
        case "openai.embeddings":
            client.embeddings.create(**arguments(recording, "model", "input"))
            return
        case _:
            answer = client.responses.create(**arguments(recording, "model", "input", "stream"))
    read(answer, recording, kind)


def call_anthropic(recording: Recording, port: int, kind: str) -> None:
    client = importlib.import_module("anthropic").Anthropic(
        base_url=f"http://127.0.0.1:{port}", api_key="x", max_retries=0
    )
    # not all emitters know of client.beta, which some recordings were made with
    answer = client.messages.create(
        **arguments(recording, "model", "messages", "max_tokens", "stream", "system", "tools")
    )
    read(answer, recording, kind)


def read(answer: Any, recording: Recording, kind: str) -> None:
    """Read a stream to its end; an aborted one as far as the second event."""
    if kind == "aborted":
        next(iter(answer))
        next(iter(answer))
        answer.close()
    elif recording.is_stream:
        list(answer)


def call_pydantic_ai(recording: Recording, port: int, provider: TracerProvider) -> None:
    from pydantic_ai import Agent, InstrumentationSettings

    settings = InstrumentationSettings(tracer_provider=provider, include_content=False)
    header = {"headers": {REPLAY_HEADER: recording.id}}
    if recording.expected["api"] == "openai.chat":
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        base = f"http://127.0.0.1:{port}" + recording.path.removesuffix("/chat/completions")
        client = AsyncOpenAI(base_url=base, api_key="x", default_headers=header["headers"])
        model: Any = OpenAIChatModel(
            recording.request_body["model"], provider=OpenAIProvider(openai_client=client)
        )
    else:
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        other = AsyncAnthropic(
            base_url=f"http://127.0.0.1:{port}", api_key="x", default_headers=header["headers"]
        )
        model = AnthropicModel(
            recording.request_body["model"], provider=AnthropicProvider(anthropic_client=other)
        )
    Agent.instrument_all(settings)
    Agent(model, name="support").run_sync("hello")


def call_langchain(recording: Recording, port: int) -> None:
    from langchain_openai import ChatOpenAI

    base = f"http://127.0.0.1:{port}" + recording.path.removesuffix("/chat/completions")
    model = ChatOpenAI(
        model=recording.request_body["model"], base_url=base, api_key="x",
        default_headers={REPLAY_HEADER: recording.id},
    )  # fmt: skip
    model.invoke("hello")


def call_litellm(recording: Recording, port: int, provider: TracerProvider) -> None:
    import litellm
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    litellm.callbacks = [
        OpenTelemetry(OpenTelemetryConfig(exporter="in_memory"), tracer_provider=provider)
    ]
    litellm.completion(
        model="openai/" + recording.request_body["model"],
        messages=[{"role": "user", "content": "hello"}],
        api_base=f"http://127.0.0.1:{port}" + recording.path.removesuffix("/chat/completions"),
        api_key="x", user="ada", extra_headers={REPLAY_HEADER: recording.id},
    )  # fmt: skip
    import time

    time.sleep(2)  # its callbacks run on a thread of their own


def capture(folder: str, only: list[str]) -> None:
    package, module, name = INSTRUMENTORS[folder]
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "capture"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if module:
        made = getattr(importlib.import_module(module), name)()
        more = (
            {
                "application_name": "capture",
                "environment": "test",
                "pricing_info": {},
                "tracer": trace.get_tracer("openlit.otel.tracing"),
                "capture_message_content": False,
                "disable_metrics": True,
                "metrics_dict": None,
                "event_provider": None,
            }
            if folder.startswith("openlit")
            else {}
        )
        if folder.startswith("openlit"):
            from openlit import OpenlitConfig

            OpenlitConfig.reset_to_defaults()
        made.instrument(tracer_provider=provider, skip_dep_check=True, **more)
    is_openai = "anthropic" not in folder
    apis = (
        ["openai.chat", "openai.responses", "openai.embeddings"]
        if is_openai
        else ["anthropic.messages"]
    )
    if folder.startswith(("pydantic", "langchain", "litellm")):
        apis = apis[:1]
    with serving(load()) as port:
        for api in apis:
            for kind, recording in recordings(api).items():
                case = f"{api.partition('.')[2]}_{kind}"
                if only and case not in only:
                    continue
                if recording.is_stream and folder.startswith(("pydantic", "langchain", "litellm")):
                    continue
                exporter.clear()
                root = trace.get_tracer("application").start_span("request")
                is_script = kind == "script"
                around = attach(Context() if is_script else trace.set_span_in_context(root))
                try:
                    if folder.startswith("pydantic"):
                        call_pydantic_ai(recording, port, provider)
                    elif folder.startswith("langchain"):
                        call_langchain(recording, port)
                    elif folder == "litellm":
                        call_litellm(recording, port, provider)
                    elif folder.startswith("langfuse"):
                        call_langfuse(recording, port, provider, kind)
                    elif is_openai:
                        call_openai(recording, port, kind)
                    else:
                        call_anthropic(recording, port, kind)
                except Exception as error:  # noqa: BLE001  the next case may work
                    if kind != "error":
                        print(folder, case, repr(error)[:200])
                        continue
                finally:
                    detach(around)
                provider.force_flush()
                spans = exporter.get_finished_spans()
                print(folder, case, len(spans))
                if spans:
                    write(folder, case, package, recording, spans)


def call_langfuse(recording: Recording, port: int, provider: TracerProvider, kind: str) -> None:
    from langfuse import Langfuse, propagate_attributes

    client = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9",
                      tracer_provider=provider, tracing_enabled=True)  # fmt: skip
    import langfuse.openai as traced

    with client.start_as_current_observation(name="turn", as_type="span"):
        with propagate_attributes(user_id="ada", session_id="c-7"):
            call_openai(recording, port, kind, traced)


def write(
    folder: str, case: str, package: str, recording: Recording, spans: tuple[ReadableSpan, ...]
) -> None:
    said = recording.expected
    is_whole = recording.status == 200 and not case.endswith("aborted")
    (HERE / folder).mkdir(exist_ok=True)
    (HERE / folder / f"{case}.json").write_text(
        json.dumps(
            {
                "package": f"{package} {version(package)}",
                "captured": datetime.now(UTC).date().isoformat(),
                "recording": recording.id,
                "expected": [
                    {key: said[key] for key in _SAID if key in said}
                    if is_whole
                    else {"input_tokens": None, "output_tokens": None}
                ],
                "spans": [as_json(span) for span in spans],
            },
            indent=1,
            default=str,
        )
        + "\n"
    )


def as_json(span: ReadableSpan) -> dict[str, Any]:
    context, scope = span.get_span_context(), span.instrumentation_scope
    assert context is not None
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "name": span.name,
        "kind": KINDS[span.kind.name],
        "start_time_ns": span.start_time,
        "end_time_ns": span.end_time,
        "is_error": span.status.status_code.name == "ERROR",
        "scope_name": scope.name if scope else "",
        "scope_version": (scope.version or "") if scope else "",
        "resource": {"service.name": "capture"},
        "attributes": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in (span.attributes or {}).items()
            if not key.startswith(_CONTENT)
            and not (isinstance(value, str) and len(value) > LONGEST_TEXT)
        },
    }


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        chosen, _, cases = asked.partition(":")
        capture(chosen, cases.split(",") if cases else [])
