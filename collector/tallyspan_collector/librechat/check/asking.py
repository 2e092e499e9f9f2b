"""Whether the collector takes LibreChat's key: asked as LibreChat's exporter asks."""

from collections.abc import Iterator

import urllib3
from urllib3.exceptions import HTTPError

from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.settings import Settings
from tallyspan_collector.librechat.check.spans import EVERY

PATH = "/api/public/otel/v1/traces"
TIMEOUT_SECONDS = 5.0
"""LibreChat's exporter waits as long."""


def collector_findings(settings: Settings, url: str) -> Iterator[Finding]:
    """Yield why the collector at `url` would not take spans with the keys of `.env`."""
    env = settings.env
    place = env.place("LANGFUSE_SECRET_KEY")
    target = f"{url.rstrip('/')}{PATH}"
    keys = ":".join(env[name] for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"))
    try:
        headers = urllib3.make_headers(basic_auth=keys) | {"Content-Type": "application/json"}
        answer = urllib3.request(
            "POST", target, body=b'{"resourceSpans":[]}', headers=headers, retries=False,
            timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    except UnicodeEncodeError:
        what = "LANGFUSE_SECRET_KEY has letters that no key has"
        yield Finding(Severity.LOST, place, what, EVERY, "LANGFUSE_SECRET_KEY=<the ingest key>")
        return
    except (HTTPError, ValueError) as error:
        what = f"the collector at {url} cannot be reached: {str(error)[:200]}"
        yield Finding(Severity.LOST, place, what, EVERY, "LANGFUSE_BASE_URL=<its address>:4318")
        return
    match answer.status:
        case 200:
            return
        case 401:
            what = f"the collector at {url} does not know the key of LANGFUSE_SECRET_KEY"
            line = "LANGFUSE_SECRET_KEY=<what `tallyspan keys add --role ingest NAME` prints>"
        case 404 | 405:
            what = f"{url} is no collector's OTLP port: it answers {answer.status} to {PATH}"
            line = "LANGFUSE_BASE_URL=http://tallyspan:4318"
        case status:
            what, line = f"the collector at {url} answers {status} to spans", ""
    yield Finding(Severity.LOST, place, what, EVERY, line)
