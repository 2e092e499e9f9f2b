"""YAML for settings and prices: no ambiguity, and every error with file and line.

Refused: duplicate keys, anchors and aliases, tabs, anything but a mapping at the top. Numbers come
as `Decimal` of their text (money must not pass through a float), dates and the rest as text.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.nearest import hint

KeyPath = tuple[str | int, ...]
_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})")
# Of libyaml, where it is: our own price files have thousands of lines, and it is ten times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


class Lines:
    """The line of each value of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line: dict[KeyPath, int] = {}

    def put(self, key_path: KeyPath, node: yaml.Node) -> None:
        """Store the line of a value."""
        self._line[key_path] = node.start_mark.line + 1

    def line(self, key_path: KeyPath) -> int:
        """Return the line (from 1) of the value, or of the nearest mapping or list around it."""
        while key_path and key_path not in self._line:
            key_path = key_path[:-1]
        return self._line.get(key_path, 1)

    def error(self, key_path: KeyPath, message: str) -> ConfigError:
        """Return an error that begins with file, line and key."""
        keys = ".".join(str(key) for key in key_path)
        return ConfigError(f"{self.path}:{self.line(key_path)}: {keys}: {message}")

    def check_keys(
        self, key_path: KeyPath, mapping: dict[str, Any], allowed: tuple[str, ...]
    ) -> None:
        """Raise `ConfigError` for the first key that is not allowed, with the most similar one."""
        for key in mapping:
            if key not in allowed:
                place = f"{self.path}:{self.line((*key_path, key))}"
                raise ConfigError(f"{place}: unknown key {key!r}; {hint(key, allowed)}")


def load(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the file's mapping and its lines. Raises `ConfigError`."""
    try:
        return _load(path)
    except RecursionError:
        raise ConfigError(f"{path}:1: is nested too deeply to be settings or prices") from None


def _load(path: Path) -> tuple[dict[str, Any], Lines]:
    lines = Lines(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        for event in yaml.parse(text, _LOADER):
            if getattr(event, "anchor", None):
                mark = event.start_mark
                line = mark.line + 1 if mark else 1
                raise ConfigError(f"{path}:{line}: anchors and aliases are not taken; write it out")
        node = yaml.compose(text, _LOADER)
    except yaml.MarkedYAMLError as error:
        if "nesting" in str(error.problem):
            raise RecursionError from None
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if node is None:
        return {}, lines
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1: must be a mapping of keys to values")
    return _mapping(node, (), lines), lines


def _mapping(node: yaml.MappingNode, key_path: KeyPath, lines: Lines) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            line = key_node.start_mark.line + 1
            raise ConfigError(f"{lines.path}:{line}: a key must be plain text")
        key = key_node.value
        lines.put((*key_path, key), key_node)
        if key in mapping:
            raise lines.error((*key_path, key), "stands here a second time")
        mapping[key] = _value(value_node, (*key_path, key), lines)
    return mapping


def _value(node: yaml.Node, key_path: KeyPath, lines: Lines) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key_path, lines)
    if isinstance(node, yaml.SequenceNode):
        return list(_items(node, key_path, lines))
    if node.tag in _NUMBERS:
        # No exponent: one typed wrongly is a price a thousand times off, or hours of arithmetic.
        if not _PLAIN_NUMBER.fullmatch(node.value):
            raise lines.error(
                key_path,
                f"{node.value[:40]} is not a plain decimal number; write it out, as in 0.0000001",
            )
        return Decimal(node.value)
    if node.tag == "tag:yaml.org,2002:bool":
        return str(node.value).lower() in {"true", "yes", "on"}
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return node.value


def _items(node: yaml.SequenceNode, key_path: KeyPath, lines: Lines) -> Iterator[Any]:
    for number, item in enumerate(node.value):
        lines.put((*key_path, number), item)
        yield _value(item, (*key_path, number), lines)
