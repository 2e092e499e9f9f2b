"""Rules about LibreChat's spans as a whole: keys, address, sampling, flushing."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from tallyspan_collector.access.keys import PREFIXES
from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.settings import Settings

EVERY = "every call: none reaches the collector, and LibreChat prints nothing about it"
BASE_URLS = (
    "LANGFUSE_FANOUT_COLLECTOR_URL", "LANGFUSE_BASE_URL", "LANGFUSE_HOST", "LANGFUSE_BASEURL",
)  # fmt: skip
"""In the order in which LibreChat looks at them."""
_CLOUD = re.compile(r"(^|\.)langfuse\.com$")
MAX_FLUSH_SECONDS = Decimal(1)


def span_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what keeps spans from coming at all, or some of them."""
    if settings.has_env:
        yield from _keys(settings)
        yield from _address(settings)
        yield from _sampling(settings)
        yield from _flushing(settings)
        yield from _content(settings)
    if settings.has_config:
        yield from _trace(settings)


def _keys(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    for name, value, key in (
        ("LANGFUSE_PUBLIC_KEY", "librechat-prod", "publicKey"),
        ("LANGFUSE_SECRET_KEY", "<the ingest key>", "secretKey"),
    ):
        if env[name]:
            continue
        if settings.config.at("langfuse", key):
            if _has_memory(settings):
                what = f"{name} stands in librechat.yaml alone: the memory agent looks in .env"
                place = settings.config.place("langfuse", key)
                calls = "calls of the memory agent"
                yield Finding(Severity.LOST, place, what, calls, f"{name}={value}   # in .env")
        else:
            state = "is empty" if name in env.places else "is missing"
            what = f"{name} {state}: LibreChat sends no spans"
            yield Finding(Severity.LOST, env.place(name), what, EVERY, f"{name}={value}")
    secret = env["LANGFUSE_SECRET_KEY"]
    role = next((role for role, prefix in PREFIXES.items() if secret.startswith(prefix)), "")
    line = "LANGFUSE_SECRET_KEY=<what `tallyspan keys add --role ingest librechat-prod` prints>"
    if role not in {"", "ingest"} or secret.startswith("sk-lf-"):
        what = (
            "LANGFUSE_SECRET_KEY is a key of Langfuse"
            if not role
            else f"LANGFUSE_SECRET_KEY is a key of the role {role}, which cannot send"
        )
        yield Finding(Severity.LOST, env.place("LANGFUSE_SECRET_KEY"), what, EVERY, line)


def _address(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    name = next((each for each in BASE_URLS if env[each]), "")
    line = "LANGFUSE_BASE_URL=http://tallyspan:4318"
    if not name:
        what = "LANGFUSE_BASE_URL is missing: spans go to Langfuse's cloud, prompts in them"
        yield Finding(Severity.LOST, env.place(*BASE_URLS), what, EVERY, line)
        return
    url, place, line = env[name], env.place(name), f"{name}=http://tallyspan:4318"
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname or ""
    if not host or parts.scheme not in {"http", "https"}:
        what = f"{name} is no URL: {url[:80]}"
        yield Finding(Severity.LOST, place, what, EVERY, line)
    elif _CLOUD.search(host):
        what = f"{name} is Langfuse's cloud: spans go there, prompts in them"
        yield Finding(Severity.LOST, place, what, EVERY, line)
    elif url.endswith("/"):
        what = (
            f"{name} ends in a slash: LibreChat then asks for //api/public/..., which a proxy may"
            " refuse"
        )
        calls = "every call, where something between refuses the path"
        yield Finding(Severity.INEXACT, place, what, calls, f"{name}={url.rstrip('/')}")
    elif parts.path.endswith(("/v1/traces", "/api/public", "/otel")):
        what = f"{name} has the path of the spans, which LibreChat adds itself"
        base = f"{parts.scheme}://{parts.netloc.rpartition(chr(64))[2]}"
        yield Finding(Severity.INEXACT, place, what, EVERY, f"{name}={base}")


def _sampling(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    if env["LANGFUSE_TRACING_ENABLED"].strip().lower() == "false":
        place = env.place("LANGFUSE_TRACING_ENABLED")
        what = "LANGFUSE_TRACING_ENABLED is false: LibreChat sends no spans"
        yield Finding(Severity.LOST, place, what, EVERY, "LANGFUSE_TRACING_ENABLED=true")
    rate = env["LANGFUSE_SAMPLE_RATE"]
    if rate and (share := _number(rate)) != 1:
        left = "some" if share is None else f"{max(Decimal(0), 1 - share) * 100:.0f} of 100"
        yield Finding(
            Severity.LOST,
            env.place("LANGFUSE_SAMPLE_RATE"),
            f"LANGFUSE_SAMPLE_RATE is {rate[:20]}: the other turns are not sent",
            f"{left} turns, at random, with all their calls",
            "LANGFUSE_SAMPLE_RATE=1",
        )


def _flushing(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    interval = env["LANGFUSE_FLUSH_INTERVAL"]
    seconds = _number(interval)
    if env.is_on("LANGFUSE_FORCE_FLUSH_ON_DISPOSE"):
        yield Finding(
            Severity.NOTE,
            env.place("LANGFUSE_FORCE_FLUSH_ON_DISPOSE"),
            "LANGFUSE_FORCE_FLUSH_ON_DISPOSE makes every turn wait for the collector: 5 seconds"
            " longer while it is away",
            "none is lost",
            "LANGFUSE_FLUSH_INTERVAL=1   # instead of it",
        )
    elif seconds is None or not 0 < seconds <= MAX_FLUSH_SECONDS:
        state = f"is {interval[:20]}" if interval else "is not set, which is 5 seconds"
        yield Finding(
            Severity.LOST,
            env.place("LANGFUSE_FLUSH_INTERVAL"),
            f"LANGFUSE_FLUSH_INTERVAL {state}: what is not sent yet is lost when LibreChat stops",
            "calls of the last seconds before each restart",
            "LANGFUSE_FLUSH_INTERVAL=1",
        )


def _content(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    if env["LANGFUSE_MEDIA_UPLOAD_ENABLED"].strip().lower() == "false":
        yield Finding(
            Severity.INEXACT,
            env.place("LANGFUSE_MEDIA_UPLOAD_ENABLED"),
            "LANGFUSE_MEDIA_UPLOAD_ENABLED is false: pictures then stay inside the spans, which"
            " makes them large enough to be refused (64 MiB)",
            "turns with large pictures",
            "LANGFUSE_MEDIA_UPLOAD_ENABLED=true   # nothing is kept of what it uploads",
        )
    if env["LANGFUSE_TRACE_TOOL_OUTPUTS"].strip().lower() != "false":
        yield Finding(
            Severity.NOTE,
            env.place("LANGFUSE_TRACE_TOOL_OUTPUTS"),
            "LANGFUSE_TRACE_TOOL_OUTPUTS is not false: what tools return travels with the spans, to"
            " be dropped at the collector",
            "none is lost",
            "LANGFUSE_TRACE_TOOL_OUTPUTS=false",
        )


def _trace(settings: Settings) -> Iterator[Finding]:
    config = settings.config
    if config.at("langfuse", "enabled") is False:
        place = config.place("langfuse", "enabled")
        what = "langfuse.enabled is false: LibreChat sends no spans"
        yield Finding(Severity.LOST, place, what, EVERY, "langfuse:\n  enabled: true")
    field = config.at("langfuse", "trace", "userIdField")
    if field not in {None, "id"}:
        yield Finding(
            Severity.NOTE,
            config.place("langfuse", "trace", "userIdField"),
            f"langfuse.trace.userIdField is {str(field)[:40]}: users are known by that, not by id",
            "none is lost; a chat that asks for costs must send the same",
            f"X-Tallyspan-User: '{{{{LIBRECHAT_USER_{str(field)[:40].upper()}}}}}'",
        )
    if config.at("langfuse", "trace") is not None:
        yield Finding(
            Severity.NOTE,
            config.place("langfuse", "trace"),
            "langfuse.trace is known to LibreChat after 0.8.8-rc1 alone: older ones may refuse it",
            "none is lost if LibreChat starts",
        )
    if config.at("transactions", "enabled") is False and not config.at("balance", "enabled"):
        yield Finding(
            Severity.INEXACT,
            config.place("transactions", "enabled"),
            "transactions.enabled is false: LibreChat keeps no ledger of its own: what spans lack"
            " can be neither found nor imported",
            "calls that did not arrive as spans",
            "transactions:\n  enabled: true",
        )
    if _has_memory(settings):
        yield Finding(
            Severity.NOTE,
            config.place("memory"),
            "calls of the memory agent are in the spans and never in LibreChat's own ledger: those"
            " that did not arrive cannot be imported",
            "calls of the memory agent, while the collector is away",
        )


def _has_memory(settings: Settings) -> bool:
    memory = settings.config.at("memory")
    if not isinstance(memory, dict) or memory.get("disabled"):
        return False
    agent = memory.get("agent")
    return isinstance(agent, dict) and agent.get("enabled") is not False


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
