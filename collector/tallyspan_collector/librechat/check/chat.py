"""Whether the chat can ask what it cost: the entry of `mcpServers` that leads here."""

from collections.abc import Iterator, Mapping
from typing import Any

from tallyspan_collector.librechat.chat_headers import PLACEHOLDERS
from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.settings import Settings

CALLS = "none is lost; the tools of the chat do not answer"
NO_LOGIN = "requiresOAuth: false"


def chat_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what keeps the tools of the chat from answering; nothing where none are set up.

    LibreChat asks a server without its key first, and takes the 401 for a login of users
    (packages/api/src/mcp/oauth/detectOAuth.ts); measured: without the line no tool can be called.
    """
    servers = settings.config.at("mcpServers")
    for name, server in servers.items() if isinstance(servers, dict) else ():
        if not isinstance(server, dict) or not _is_ours(str(name), server):
            continue
        place = settings.config.place("mcpServers", name)
        what = f"MCP server {str(name)[:60]}"
        if server.get("requiresOAuth") is not False:
            reason = "LibreChat takes the refusal of its first question for a login of users"
            yield Finding(Severity.NOTE, place, f"{what}: {reason}", CALLS, NO_LOGIN)
        headers = _headers(server)
        lacking = [header for header in PLACEHOLDERS if header.lower() not in headers]
        # An entry for admins has their key, and no header of a user.
        if lacking and len(lacking) < len(PLACEHOLDERS):
            lines = "\n".join(f"{each}: '{PLACEHOLDERS[each]}'" for each in lacking)
            yield Finding(
                Severity.NOTE, place, f"{what}: its headers lack {', '.join(lacking)}", CALLS, lines
            )


def _is_ours(name: str, server: Mapping[str, Any]) -> bool:
    has_headers = any(each.lower() in _headers(server) for each in PLACEHOLDERS)
    return has_headers or "tallyspan" in f"{name} {server.get('url')}".lower()


def _headers(server: Mapping[str, Any]) -> set[str]:
    headers = server.get("headers")
    return {str(each).lower() for each in headers} if isinstance(headers, dict) else set()
