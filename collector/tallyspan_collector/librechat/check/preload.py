"""The preload in LibreChat's own process: whether it is loaded, and which calls it counts."""

import re
from collections.abc import Iterator, Sequence

from tallyspan_collector.librechat.check.settings import Environment

FILE = "tallyspan-preload.cjs"
GROUPS, URL, KEY = "TALLYSPAN_PRELOAD", "TALLYSPAN_PRELOAD_URL", "TALLYSPAN_PRELOAD_KEY"
ALL = "all"


def is_counted(env: Environment, groups: Sequence[str]) -> bool:
    """Return whether the preload is loaded, knows the collector, and counts these groups."""
    named = _named(env)
    is_on = ALL in named or {*groups} <= {*named}
    return is_on and _is_loaded(env) and _has_address(env) and bool(env[KEY])


def is_late(env: Environment) -> bool:
    """Return whether it is only loaded by `.env`, which Node does not read."""
    return _is_loaded(env) and "NODE_OPTIONS" in env.late


def lines(env: Environment, groups: Sequence[str]) -> str:
    """Return the lines that let it count these groups too."""
    return "\n".join(_lines(env, groups))


def _lines(env: Environment, groups: Sequence[str]) -> Iterator[str]:
    if not _is_loaded(env):
        others = f"{env['NODE_OPTIONS']} " if env["NODE_OPTIONS"] else ""
        yield f"NODE_OPTIONS={others}--require=/app/{FILE}"
    named = _named(env)
    if ALL not in named and not {*groups} <= {*named}:
        yield f"{GROUPS}={','.join(dict.fromkeys((*named, *groups)))}"
    if not _has_address(env):
        yield f"{URL}={env['LANGFUSE_BASE_URL'].rstrip('/') or 'http://tallyspan:4318'}"
    if not env[KEY]:
        yield f"{KEY}=<the ingest key>"


def _named(env: Environment) -> list[str]:
    return [each for each in (text.strip() for text in env[GROUPS].split(",")) if each]


def _is_loaded(env: Environment) -> bool:
    return FILE in env["NODE_OPTIONS"]


def _has_address(env: Environment) -> bool:
    return re.match(r"https?://[^/]", env[URL]) is not None
