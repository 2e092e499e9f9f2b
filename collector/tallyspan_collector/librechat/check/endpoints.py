"""Rules about custom endpoints: LibreChat asks none of them for usage unless told to."""

from collections.abc import Iterator

from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.in_use import InUse
from tallyspan_collector.librechat.check.settings import Settings

WRITE = "addParams:\n  streamUsage: true"


def endpoint_findings(settings: Settings, in_use: InUse | None) -> Iterator[Finding]:
    """Yield each custom endpoint whose streamed answers come without their tokens.

    LibreChat turns usage off for all of them (packages/api/src/agents/run.ts); measured: with
    `streamUsage` 3 of 3 exact, `stream_options` has no effect.
    """
    for number, endpoint in settings.config.custom_endpoints():
        name = str(endpoint.get("name") or f"number {number + 1}")
        parameters = endpoint.get("addParams")
        parameters = parameters if isinstance(parameters, dict) else {}
        if parameters.get("streamUsage") is True:
            continue
        why = "LibreChat does not ask it for usage"
        if "streamUsage" in parameters:
            why = f"addParams.streamUsage is {str(parameters['streamUsage'])[:20]!r}, not true"
        elif "stream_options" in parameters:
            why = "addParams.stream_options has no effect there, streamUsage has"
        calls = (
            "streamed calls: booked without tokens and cost, unless its server sends them unasked"
        )
        if in_use is not None:
            calls += f" ({in_use.of_endpoint(name)})"
        yield Finding(
            Severity.LOST,
            settings.config.place("endpoints", "custom", number),
            f"custom endpoint {name[:60]}: {why}",
            calls,
            WRITE,
        )
