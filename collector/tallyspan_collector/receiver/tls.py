"""TLS of the listeners; with a CA for clients, only clients with its certificates may connect."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from tallyspan_collector.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: our certificate and key; `client_ca` asks clients for certificates of this CA."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Raise `ConfigError` if the files cannot be used."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"--tls-cert {self.certificate}, --tls-key {self.key}: cannot be used: {error}"
            ) from None

    def for_grpc(self) -> grpc.ServerCredentials:
        """Return the credentials for grpcio."""
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )

    def for_uvicorn(self) -> dict[str, object]:
        """Return the options for uvicorn."""
        options: dict[str, object] = {
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.key),
        }
        if self.client_ca:
            options |= {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return options
