"""The settings of a LibreChat, each with its line: `.env`, compose files, `librechat.yaml`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tallyspan_collector.errors import ConfigError

MAX_BYTES = 4 << 20
SERVICES = ("api", "librechat")
"""What LibreChat's service is called in a compose file: its own, and ours."""
KeyPath = tuple[str | int, ...]
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)")
_INTERPOLATED = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")
_QUOTED = re.compile(r"""(['"`])(.*?)(?<!\\)\1\s*(?:#.*)?""")


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables, and file and line of each; one that is empty is as good as missing.

    `path` is the `.env`, where one that lacks is to be written. `late` are those that only stand
    there: LibreChat reads the file when Node runs already.
    """

    path: str = ".env"
    values: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    late: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def place(self, *names: str) -> str:
        """Return file and line of the first of these that is there, else the file."""
        return next((self.places[name] for name in names if name in self.places), self.path)

    def is_on(self, name: str) -> bool:
        """Return whether the variable is `true`, as LibreChat reads it."""
        return self[name].strip().lower() == "true"


@dataclass(frozen=True, slots=True)
class Config:
    """The mapping of a `librechat.yaml`, and the line of each value in it."""

    path: str = "librechat.yaml"
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def at(self, *keys: str | int) -> Any:
        """Return the value at these keys, None if there is none."""
        value: Any = self.values
        for key in keys:
            match value, key:
                case dict(), str():
                    value = value.get(key)
                case list(), int() if key < len(value):
                    value = value[key]
                case _:
                    return None
        return value

    def place(self, *keys: str | int) -> str:
        """Return file and line of the value, or of what is around it; the file where it lacks."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return f"{self.path}:{self.lines[keys[:length]]}"
        return self.path

    def custom_endpoints(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the custom endpoints with their number in the list."""
        listed = self.at("endpoints", "custom")
        if not isinstance(listed, list):
            return []
        return [(number, each) for number, each in enumerate(listed) if isinstance(each, dict)]


@dataclass(frozen=True, slots=True)
class Settings:
    """Both files; one that was not named is empty, and says nothing."""

    env: Environment
    config: Config
    has_env: bool = True
    has_config: bool = True


def read_environment(path: Path) -> Environment:
    """Return the variables of a `.env`. Raises `ConfigError`."""
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        match = _ASSIGNMENT.fullmatch(line)
        if match:
            values[match[1]], places[match[1]] = _value(match[2].strip()), f"{path}:{number}"
    return Environment(str(path), values, places, frozenset(values))


def with_compose(env: Environment, path: Path) -> Environment:
    """Return the variables of LibreChat's service in a compose file, over those of `env`.

    Raises `ConfigError` where it has no such service.
    """
    file = read_config(path)
    name = next((each for each in SERVICES if isinstance(file.at("services", each), dict)), None)
    if name is None:
        raise ConfigError(f"{path}: has no service {' or '.join(SERVICES)}")
    where = ("services", name, "environment")
    listed = file.at(*where)
    pairs: list[tuple[str, Any, str]] = []
    if isinstance(listed, dict):
        pairs = [(key, value, file.place(*where, key)) for key, value in listed.items()]
    elif isinstance(listed, list):
        for number, each in enumerate(listed):
            key, equals, text = str(each).partition("=")
            pairs.append((key, text if equals else None, file.place(*where, number)))
    values, places = dict(env.values), dict(env.places)
    for key, value, place in pairs:
        values[key], places[key] = _of_compose(value, env[key], env), place
    late = (
        frozenset() if file.at("services", name, "env_file") else env.late - {p[0] for p in pairs}
    )
    return Environment(env.path, values, places, late)


def _of_compose(value: object, outside: str, env: Environment) -> str:
    """Return the variable as the container has it; without a value it is passed on."""
    match value:
        case None:
            return outside
        case bool():
            return str(value).lower()
        case _:
            text = str(value)
    return _INTERPOLATED.sub(lambda match: env[match[1]] or match[2] or "", text)


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    return quoted[2] if quoted else re.split(r"\s#|^#", text, maxsplit=1)[0].strip()


def read_config(path: Path) -> Config:
    """Return what a `librechat.yaml` says, anchors and merges resolved. Raises `ConfigError`."""
    text = _text(path)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if node is None:
        return Config(str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}:1: must be a mapping of keys to values")
    lines: dict[KeyPath, int] = {}
    _note_lines(node, (), lines)
    return Config(str(path), values, lines)


def _note_lines(node: yaml.Node, keys: KeyPath, lines: dict[KeyPath, int]) -> None:
    # Four levels are all that is asked for, and keep a file of aliases in aliases small.
    if len(keys) > 4:  # noqa: PLR2004
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[*keys, key.value] = key.start_mark.line + 1
                _note_lines(value, (*keys, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[*keys, number] = value.start_mark.line + 1
            _note_lines(value, (*keys, number), lines)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_BYTES >> 20} MiB")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
