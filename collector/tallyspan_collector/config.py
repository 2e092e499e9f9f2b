"""Settings of the collector. Flags, variables, keys of the file and help are derived from OPTIONS.

A flag beats the environment, the environment the file, the file the default.
"""

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tallyspan_collector.access.oidc import OidcConfig, parse_access
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files import strict_yaml
from tallyspan_collector.files.nearest import hint


def address(text: str) -> str:
    """Return HOST:PORT as it is. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004  ports
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:4317; port 0 picks a free one")
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _store(text: str) -> str:
    if text != "local" and not text.startswith(("http://", "https://")):
        raise ValueError("must be 'local' or http(s)://user:password@host:port/database")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """A setting: `name` in a file, `--na-me` as a flag, TALLYSPAN_NAME in the environment."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    help: str

    @property
    def flag(self) -> str:
        """Return the name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the name in the environment."""
        return "TALLYSPAN_" + self.name.upper()


UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
}
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text.strip())
    if not match or match[2].upper() not in UNITS or not int(match[1]):
        raise ValueError("must be a number of bytes, or with KB, MB, GB, KiB, MiB, GiB")
    return int(match[1]) * UNITS[match[2].upper()]


def duration(text: str) -> int:
    """Return the seconds of a text like 90s, 30m, 24h or 7d. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if not match or not int(match[1]):
        raise ValueError("must be a duration like 90s, 30m, 24h or 7d")
    return int(match[1]) * SPANS[match[2]]


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:  # noqa: PLR2004  processes
        raise ValueError("must be 1 to 64")
    return int(text)


def _reader(text: str) -> str:
    if text not in ("auto", "compiled", "python"):
        raise ValueError("must be auto, compiled or python")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _days(text: str) -> int:
    """Return days of a text like 400d; forever is 0."""
    if text.strip() == "forever":
        return 0
    match = re.fullmatch(r"(\d{1,5})d", text.strip())
    if not match or not int(match[1]):
        raise ValueError("must be days like 400d, or forever")
    return int(match[1])


STORE = Option(
    "store", _store, "local", "local (an engine of our own) or the URL of a ClickHouse server"
)
DATA_DIR = Option("data_dir", _path, "tallyspan-data", "folder of the local store")
TRUSTED_KEYS = Option(
    "trusted_keys", _names, "", "names of ingest keys whose reports correct each other: app,gateway"
)
IMPORTS = "imports"
RECONCILE = "reconcile"
RATE_CARD = "rate_card"
STATEMENTS = "statements"
SECTIONS = (IMPORTS, RECONCILE, RATE_CARD, STATEMENTS)
"""What a file may have beside the options: what their own readers check."""
OPTIONS = (
    STORE,
    DATA_DIR,
    Option("otlp_grpc", address, "127.0.0.1:4317", "HOST:PORT of OTLP over gRPC"),
    Option("otlp_http", address, "127.0.0.1:4318", "HOST:PORT of OTLP over HTTP"),
    Option("admin", address, "127.0.0.1:4319", "HOST:PORT of the admin API"),
    Option("prices", _path, None, "models_pricing.yaml with prices of your own"),
    Option("prices_max_age", duration, "90d", "age of the bundled prices that is warned of"),
    Option("spool_limit", _size, "10GiB", "bytes that may wait on disk while the store is away"),
    Option("seen_window", duration, "24h", "how long a span that is sent again is recognised"),
    Option("retention", _days, "400d", "how long entries of the ledger are kept: 400d, or forever"),
    Option("retention_rollups", _days, "forever", "how long what was added up of them is kept"),
    TRUSTED_KEYS,
    Option("workers", _count, "1", "processes that receive and load, sharing the OTLP ports"),
    Option(
        "reader", _reader, "auto", "reads spans: compiled, python, or auto: the faster there is"
    ),
    Option("trusted_proxies", str, None, "addresses of proxies whose X-Forwarded-For is believed"),
    Option("tls_cert", _path, None, "PEM certificate of the listeners"),
    Option("tls_key", _path, None, "PEM private key of that certificate"),
    Option("tls_client_ca", _path, None, "PEM of the CA whose clients alone may connect (mTLS)"),
    Option("oidc_issuer", str, None, "URL of the OpenID provider whose tokens the admin API takes"),
    Option("oidc_audience", str, None, "audience a token must be for"),
    Option("oidc_claim", str, "groups", "claim of a token that lists groups; dots lead into it"),
    Option("oidc_access", parse_access, None, "who sees what: finance=*;sales-leads=Sales,Support"),
)
READ_OPTIONS = (STORE, DATA_DIR)
TLS_OPTIONS = tuple(each for each in OPTIONS if each.name.startswith("tls_"))
RETENTION_OPTIONS = tuple(each for each in OPTIONS if each.name.startswith("retention"))


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a file with a structure of its own: its content, and the line of each value."""

    name: str
    content: Any
    lines: strict_yaml.Lines


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a running collector."""

    store: str
    data_dir: Path
    otlp_grpc: str
    otlp_http: str
    admin: str
    prices: Path | None = None
    prices_max_age: int = 90 * 86_400
    spool_limit: int = 10 << 30
    seen_window: int = 86_400
    retention: int = 400
    retention_rollups: int = 0
    trusted_keys: tuple[str, ...] = ()
    workers: int = 1
    reader: str = "auto"
    trusted_proxies: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_claim: str = "groups"
    oidc_access: Mapping[str, tuple[str, ...]] | None = None
    imports: Section | None = None
    reconcile: Section | None = None
    rate_card: Section | None = None
    statements: Section | None = None

    def oidc(self) -> OidcConfig | None:
        """Return the OpenID provider of readers, None without one. Raises `ConfigError`."""
        if self.oidc_issuer is None:
            return None
        return OidcConfig(
            self.oidc_issuer, self.oidc_audience or "", self.oidc_claim, self.oidc_access or {}
        )


def add_flags(parser: argparse.ArgumentParser, options: tuple[Option, ...]) -> None:
    """Add a flag for each option to the parser."""
    for option in options:
        default = f", default {option.default}" if option.default else ""
        parser.add_argument(
            option.flag,
            dest=option.name,
            metavar=option.name.upper(),
            help=f"{option.help} ({option.variable}{default})",
        )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with these settings (TALLYSPAN_CONFIG)"
    )


def read(
    flags: argparse.Namespace,
    environment: Mapping[str, str] = os.environ,
    options: tuple[Option, ...] = OPTIONS,
) -> dict[str, Any]:
    """Return setting -> value. Raises `ConfigError` with the flag, variable or line of the file."""
    file = getattr(flags, "config", None) or environment.get("TALLYSPAN_CONFIG")
    of_file = _read_file(Path(file)) if file else {}
    values: dict[str, Any] = {}
    for option in options:
        value, origin = option.default, "default"
        if option.name in of_file:
            value, origin = of_file[option.name]
        if environment.get(option.variable):
            value, origin = environment[option.variable], option.variable
        if getattr(flags, option.name, None) is not None:
            value, origin = getattr(flags, option.name), option.flag
        try:
            values[option.name] = None if value is None else option.parse(value)
        except ValueError as error:
            shown = "" if option is STORE else f" {value!r}"
            raise ConfigError(f"{origin}{shown}: {error}") from None
    return values


def load(flags: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Config:
    """Return the collector's configuration. Raises `ConfigError`."""
    imports, reconcile, rate_card, statements = (
        section(flags, name, environment) for name in SECTIONS
    )
    return Config(
        **read(flags, environment),
        imports=imports,
        reconcile=reconcile,
        rate_card=rate_card,
        statements=statements,
    )


def section(
    flags: argparse.Namespace, name: str, environment: Mapping[str, str] = os.environ
) -> Section | None:
    """Return a section of the file; None: there is none. Raises `ConfigError`."""
    file = getattr(flags, "config", None) or environment.get("TALLYSPAN_CONFIG")
    content, lines = strict_yaml.load(Path(file)) if file else ({}, None)
    return Section(name, content[name], lines) if lines and name in content else None


def _read_file(path: Path) -> dict[str, tuple[str, str]]:
    content, lines = strict_yaml.load(path)
    names = [option.name for option in OPTIONS]
    values: dict[str, tuple[str, str]] = {}
    for key, value in content.items():
        if key in SECTIONS:
            continue
        origin = f"{path}:{lines.line((key,))}"
        if key not in names:
            raise ConfigError(
                f"{origin}: unknown setting {key!r}; {hint(key, [*names, *SECTIONS])}"
            )
        if not isinstance(value, str | Decimal):
            raise ConfigError(f"{origin}: {key}: must be text, got {value!r}")
        values[key] = (str(value), f"{origin}: {key}")
    return values
