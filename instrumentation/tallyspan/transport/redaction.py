"""API keys in the query of a request, as Gemini takes them: kept out of others' HTTP spans.

OpenTelemetry's instrumentations of HTTP clients write the whole URL into a span, with a few
parameters redacted that are named in a list of their common package. Ours write no query at all.
"""

import sys
from types import ModuleType

import wrapt

from tallyspan.guard import ours

MODULE = "opentelemetry.util.http"
_LIST = "PARAMS_TO_REDACT"
KEYS = ("key", "api_key", "api-key", "subscription-key", "access_token")
"""Parameters that providers take a key in: Gemini and Vertex, Azure, and gateways."""

_wanted: list[str] = []
_added: list[str] = []


def instrument() -> None:
    """Have the parameters redacted, once that package is imported."""
    _wanted[:] = KEYS
    wrapt.register_post_import_hook(_add, MODULE)


def uninstrument() -> None:
    """Take our parameters off the list."""
    _wanted.clear()
    names = getattr(sys.modules.get(MODULE), _LIST, [])
    for name in _added:
        names.remove(name)
    _added.clear()


def _add(module: ModuleType) -> None:
    with ours("redact API keys in URLs"):
        names = getattr(module, _LIST)
        new = [name for name in _wanted if name not in names]
        names += new
        _added.extend(new)
