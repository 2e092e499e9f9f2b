"""The page at /: what this is and where to go; nothing on it says what anything costs."""

from html import escape

from starlette.responses import HTMLResponse

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Tallyspan</title></head>
<body>
<h1>Tallyspan</h1>
<p>Counts what LLM calls cost: every call, exactly once, at the price the provider bills.
Costs are for admins: the paths below <code>/api/admin/</code> ask for an admin key
(<code>Authorization: Bearer &lt;key&gt;</code>).</p>
<ul>
<li><a href="{grafana_url}">Grafana dashboards</a></li>
<li><a href="/api/admin/token_usage">/api/admin/token_usage</a>: calls, newest first</li>
<li><a href="/api/admin/token_usage/summary?group_by=user">/api/admin/token_usage/summary</a>:
totals by user, department, agent, conversation, model, endpoint, provider, service, day, hour</li>
<li><a href="/readyz">/readyz</a>: whether the collector can do its work</li>
<li><a href="/healthz">/healthz</a>: whether it lives</li>
<li><a href="/metrics">/metrics</a>: what it says of itself, for Prometheus</li>
</ul>
</body>
</html>
"""


def landing_page(grafana_url: str) -> HTMLResponse:
    """Return the page. `grafana_url` must be http or https, as settings are checked to be."""
    return HTMLResponse(PAGE.format(grafana_url=escape(grafana_url)), headers=HEADERS)
