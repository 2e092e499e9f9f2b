"""Captures Vertex AI's SDK over gRPC: `python capture_vertex.py`.

Needs a Python with google-cloud-aiplatform, opentelemetry-instrumentation-vertexai, tallyspan and
`openssl`: the SDK insists on TLS, so a server on loopback has a certificate made here. Its counts
are made: 1,200 tokens of input, 1,024 of them cached, 80 of output and 320 of thoughts beside it.
Writes openllmetry_vertex_grpc/CASE.json: the spans of OpenLLMetry, and ours beside them.
"""

import json
import os
import subprocess
import tempfile
from concurrent import futures
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import grpc

HERE = Path(__file__).parent
FOLDER = "openllmetry_vertex_grpc"
PACKAGE = "opentelemetry-instrumentation-vertexai"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
             "-out", str(certificate)], check=True, capture_output=True,
        )  # fmt: skip
        os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(certificate)
        capture(key.read_bytes(), certificate.read_bytes())


def capture(key: bytes, certificate: bytes) -> None:
    import vertexai
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1beta1 import types
    from opentelemetry import trace
    from opentelemetry.instrumentation.vertexai import VertexAIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import tallyspan
    from tallyspan.exchange import settle

    out = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "capture"}))
    provider.add_span_processor(SimpleSpanProcessor(out))
    trace.set_tracer_provider(provider)
    tallyspan.instrument()
    VertexAIInstrumentor().instrument()
    from vertexai.generative_models import GenerativeModel

    usage = {"prompt_token_count": 1200, "candidates_token_count": 80, "thoughts_token_count": 320,
             "cached_content_token_count": 1024, "total_token_count": 1600}  # fmt: skip
    candidate = {"content": {"role": "model", "parts": [{"text": "."}]}, "finish_reason": "STOP"}
    answer = types.GenerateContentResponse(
        candidates=[candidate], usage_metadata=usage, model_version="gemini-2.5-pro",
        response_id="made-1",
    )  # fmt: skip
    handlers = {
        name: kind(
            (lambda _request, _context: iter([answer]))
            if "Stream" in name
            else (lambda *_: answer),
            types.GenerateContentRequest.deserialize,
            types.GenerateContentResponse.serialize,
        )
        for name, kind in (
            ("GenerateContent", grpc.unary_unary_rpc_method_handler),
            ("StreamGenerateContent", grpc.unary_stream_rpc_method_handler),
        )
    }
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for package in ("v1", "v1beta1"):
        service = f"google.cloud.aiplatform.{package}.PredictionService"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    vertexai.init(
        project="p", location="us-central1", api_endpoint=f"localhost:{port}",
        credentials=AnonymousCredentials(), api_transport="grpc",
    )  # fmt: skip
    model = GenerativeModel("gemini-2.5-pro")
    cases = {
        "generate_cached": lambda: model.generate_content("hello"),
        "generate_cached_stream": lambda: list(model.generate_content("hello", stream=True)),
    }
    (HERE / FOLDER).mkdir(exist_ok=True)
    from capture_xai import written

    for name, act in cases.items():
        out.clear()
        # a request that is served: of a script each of the two spans has a trace of its own
        with trace.get_tracer("application").start_as_current_span("request"):
            act()
        settle(2)
        said = {
            "package": f"{PACKAGE} {version(PACKAGE)}",
            "captured": datetime.now(UTC).date().isoformat(),
            "recording": f"made, google-cloud-aiplatform {version('google-cloud-aiplatform')}",
            "expected": [{"input_tokens": 1200, "output_tokens": 400, "cache_read_tokens": 1024,
                          "reasoning_tokens": 320}],
            "spans": [written(span) for span in out.get_finished_spans()],
        }  # fmt: skip
        (HERE / FOLDER / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
