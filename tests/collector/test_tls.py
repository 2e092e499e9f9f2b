"""TLS on every listener, and clients without a certificate of the CA stay outside (mTLS)."""

import datetime as dt
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def write(
    folder: Path, name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return subject, key


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
