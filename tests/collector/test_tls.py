"""TLS on every listener, and clients without a certificate of the CA stay outside (mTLS)."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from certificates import write
from otlp_spans import CHAT, request, span
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan_collector.config import Config
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.server.worker import tls

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}


@dataclass(frozen=True)
class Files:
    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    ca = write(folder, "ca", None)
    write(folder, "server", ca)
    write(folder, "client", ca)
    return Files(
        folder / "ca.pem", folder / "server.pem", folder / "server.key", folder / "client.pem",
        folder / "client.key",
    )  # fmt: skip


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory, store: SharedStore, files: Files
) -> Iterator[Running]:
    with running_collector(
        tmp_path_factory.mktemp("collector"),
        store=store.url,
        tls_cert=files.server,
        tls_key=files.server_key,
        tls_client_ca=files.ca,
    ) as running:
        yield running


def trusting(files: Files, *, is_known: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(files.ca))
    if is_known:
        context.load_cert_chain(files.client, files.client_key)
    return context


def test_http_and_admin_take_those_with_a_certificate_of_the_ca_only(
    collector: Running, files: Files
) -> None:
    url = f"https://{collector.ready.otlp_http}/v1/traces"
    body = request(span(1, CHAT))
    with httpx.Client(verify=trusting(files, is_known=True)) as client:
        assert client.post(url, content=body, headers=PROTOBUF).status_code == 200
        assert client.get(f"{collector.ready.admin}/readyz").status_code == 200
    with (
        httpx.Client(verify=trusting(files, is_known=False)) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.post(url, content=body, headers=PROTOBUF)


def test_grpc_takes_those_with_a_certificate_of_the_ca_only(
    collector: Running, files: Files
) -> None:
    known = grpc.ssl_channel_credentials(
        files.ca.read_bytes(), files.client_key.read_bytes(), files.client.read_bytes()
    )
    with grpc.secure_channel(collector.ready.otlp_grpc, known) as channel:
        assert channel.unary_unary(TRACES)(request(span(2, CHAT)), timeout=10) == b""
    unknown = grpc.ssl_channel_credentials(files.ca.read_bytes())
    with (
        grpc.secure_channel(collector.ready.otlp_grpc, unknown) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary(TRACES)(request(span(3, CHAT)), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_files_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path, files: Files) -> None:
    free = "127.0.0.1:0"
    half = Config("local", tmp_path, free, free, free, tls_cert=files.server)
    wrong = Config(
        "local", tmp_path, free, free, free, tls_cert=files.server, tls_key=files.client_key
    )

    with pytest.raises(ConfigError, match="give both"):
        tls(half)
    with pytest.raises(ConfigError, match="cannot be used"):
        tls(wrong)
