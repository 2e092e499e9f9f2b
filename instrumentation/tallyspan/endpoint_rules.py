"""The user's own endpoint rules: a YAML (or JSON) file named by TALLYSPAN_ENDPOINTS_FILE.

    endpoints:
      - host: llm-gateway.example.com   # globs allowed
        path: /team-a/*                 # optional glob
        endpoint_id: team-a-gateway
        provider: openai                # optional
        format: openai_chat             # optional: else the path decides

A file that cannot be used gets one clear warning, and the built-in rules go on alone.
"""

import json
import logging
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from tallyspan.formats import FORMATS
from tallyspan.recognise import OwnRule

KEYS = tuple(field.name for field in fields(OwnRule))
OPERATIONS = ("chat", "generate_content", "text_completion", "embeddings", "rerank", "moderation")
_log = logging.getLogger("tallyspan")


class RulesError(Exception):
    """The file cannot be used; the message says where and why."""


def load_or_warn(path: Path) -> list[OwnRule]:
    """Return the file's rules; none, with one warning, if it cannot be used."""
    try:
        return load(path)
    except RulesError as error:
        _log.warning("endpoint rules are not used, the built-in ones go on: %s", error)
        return []


def load(path: Path) -> list[OwnRule]:
    """Return the file's rules. Raises `RulesError`."""
    content = _read(path)
    rules = content.get("endpoints") if isinstance(content, dict) else None
    if not isinstance(rules, list) or len(content) != 1:
        raise RulesError(f"{path}: must have one key, 'endpoints', with a list of rules")
    return [_rule(entry, f"{path}: endpoints[{number}]") for number, entry in enumerate(rules)]


def _read(path: Path) -> Any:
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: cannot be read: {error}") from None
    if path.suffix == ".json":
        try:
            return json.loads(source)
        except ValueError as error:
            raise RulesError(f"{path}: not JSON: {error}") from None
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise RulesError(
            f"{path}: reading YAML needs `pip install pyyaml`; or write it as .json"
        ) from None
    try:
        return yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise RulesError(f"{path}: not YAML: {error}") from None


def _rule(entry: Any, where: str) -> OwnRule:
    if not isinstance(entry, dict):
        raise RulesError(f"{where}: must be a mapping with host and endpoint_id")
    for key, value in entry.items():
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            raise RulesError(
                f"{where}: unknown key {key!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"keys are: {', '.join(KEYS)}")
            )
        if not isinstance(value, int if key == "port" else str) or not value:
            kind = "a port number" if key == "port" else "text"
            raise RulesError(f"{where}: {key}: must be {kind}; got {value!r}")
    for key in ("host", "endpoint_id"):
        if key not in entry:
            raise RulesError(f"{where}: {key!r} is missing")
    _one_of(entry, "format", tuple(FORMATS), where)
    _one_of(entry, "operation", OPERATIONS, where)
    return OwnRule(**entry)


def _one_of(entry: dict[str, Any], key: str, names: tuple[str, ...], where: str) -> None:
    if key in entry and entry[key] not in names:
        raise RulesError(f"{where}: {key}: must be one of {', '.join(names)}; got {entry[key]!r}")
