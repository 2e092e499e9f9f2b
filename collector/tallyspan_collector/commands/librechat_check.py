"""`tallyspan librechat check`: what a LibreChat will not report, and the line that changes it."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.in_use import InUse
from tallyspan_collector.librechat.check.rules import find
from tallyspan_collector.librechat.check.settings import (
    Config,
    Environment,
    Settings,
    read_config,
    read_environment,
    with_compose,
)
from tallyspan_collector.librechat.mongo import Mongo
from tallyspan_collector.units.counts import counted
from tallyspan_collector.units.text import printable

HEADINGS = {
    Severity.LOST: "LOST",
    Severity.INEXACT: "INEXACT",
    Severity.NOTE: "note",
}


def add_parser(actions: Any) -> None:
    """Add the parser of `tallyspan librechat check`."""
    parser = actions.add_parser("check", help="what LibreChat's settings keep from being recorded")
    parser.add_argument("--config", metavar="FILE", help="its librechat.yaml")
    parser.add_argument("--env", metavar="FILE", help="its .env")
    parser.add_argument(
        "--compose",
        metavar="FILE",
        action="append",
        default=[],
        help="docker-compose.yml, docker-compose.override.yml: the environment of its service",
    )
    parser.add_argument("--mongo", metavar="URI", help="its database: what is used, and how much")
    parser.add_argument(
        "--collector", metavar="URL", help="ask its OTLP port whether the key works"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    if not options.config and not options.env and not options.compose:
        raise ConfigError("name LibreChat's settings: --config librechat.yaml --env .env")
    if options.collector and not options.env and not options.compose:
        raise ConfigError("--collector: the key that it is to be asked for stands in --env FILE")
    env = read_environment(Path(options.env)) if options.env else Environment()
    for path in options.compose:
        env = with_compose(env, Path(path))
    settings = Settings(
        env,
        read_config(Path(options.config)) if options.config else Config(),
        has_env=bool(options.env or options.compose),
        has_config=bool(options.config),
    )
    with Mongo(options.mongo) if options.mongo else nullcontext() as mongo:
        in_use = InUse.read(mongo) if mongo is not None else None
        findings = find(settings, in_use, options.collector or "")
    _write(findings, options.format, sys.stdout)
    return int(any(each.severity is Severity.LOST for each in findings))


def _write(findings: Sequence[Finding], kind: str, out: TextIO) -> None:
    if kind == "json":
        json.dump([asdict(each) for each in findings], out, indent=2, ensure_ascii=False)
        out.write("\n")
        return
    out.writelines(_text(each) for each in findings)
    lost, inexact, notes = (
        sum(each.severity is severity for each in findings) for severity in HEADINGS
    )
    out.write(f"{lost} LOST, {inexact} INEXACT, {counted(notes, 'note')}\n")


def _text(finding: Finding) -> str:
    lines = [
        f"{HEADINGS[finding.severity]}  {finding.place}: {finding.what}",
        f"    calls: {finding.calls}",
        *(f"    write: {line}" for line in finding.write.splitlines()),
    ]
    return "".join(f"{printable(line)}\n" for line in lines)
