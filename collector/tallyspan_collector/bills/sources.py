"""Who reports usage and costs, and how they are asked: a line each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tallyspan_collector.bills import (
    anthropic,
    anthropic_enterprise,
    bill_file,
    claude_code,
    cloud_file,
    copilot,
    openai,
)
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.pages import ADMIN_KEY, Api

_ALL = ("project", "api_key", "user")


@dataclass(frozen=True, slots=True)
class Source:
    """Something that reports usage: by an API (`fetch`), as a file (`read`), or both.

    `provider` is the ledger's name, `providers` those whose calls it may report. `services` are
    the names of the services whose calls it reports; empty: all. `also_in` is the source whose
    report has the same use again, of the whole organisation: what this one books counts there as
    recorded. `has_all_costs`: where it states costs they are of all that it reports as used.
    """

    name: str
    providers: tuple[str, ...]
    key_variable: str = ""
    base: str = ""
    headers: Callable[[str], dict[str, str]] = openai.headers
    fetch: Callable[[Api, date, date, str], Iterator[Billed]] | None = None
    read: Callable[[Path], Iterator[Billed]] | None = None
    services: tuple[str, ...] = ()
    also_in: str = ""
    has_all_costs: bool = False
    needs_organization: bool = False
    wanted_key: str = ADMIN_KEY

    @property
    def provider(self) -> str:
        """Return the provider of lines that name none."""
        return self.providers[0]


def _bill_file(path: Path) -> Iterator[Billed]:
    return bill_file.read(path, {})


SOURCES = {
    each.name: each
    for each in (
        Source(
            "openai",
            openai.PROVIDERS,
            openai.KEY,
            openai.BASE,
            openai.headers,
            lambda api, first, last, _: openai.report(api, first, last),
            _bill_file,
            has_all_costs=True,
        ),
        Source(
            "anthropic",
            anthropic.PROVIDERS,
            anthropic.KEY,
            anthropic.BASE,
            anthropic.headers,
            lambda api, first, last, _: anthropic.bill(api, first, last, _ALL),
            _bill_file,
        ),
        Source(
            "anthropic-enterprise",
            anthropic.PROVIDERS,
            "ANTHROPIC_ANALYTICS_KEY",
            anthropic.BASE,
            anthropic.headers,
            lambda api, first, last, _: anthropic_enterprise.bill(api, first, last),
            services=(claude_code.SERVICE,),
            wanted_key="a key with the scope read:analytics, made in claude.ai",
        ),
        Source(
            "claude-code",
            anthropic.PROVIDERS,
            anthropic.KEY,
            anthropic.BASE,
            anthropic.headers,
            lambda api, first, last, _: claude_code.bill(api, first, last),
            services=(claude_code.SERVICE,),
            also_in="anthropic",
        ),
        Source(
            "copilot",
            ("github-copilot",),
            "GITHUB_BILLING_TOKEN",
            "https://api.github.com",
            copilot.headers,
            copilot.bill,
            needs_organization=True,
            wanted_key="a token of an organisation's administrator with 'Administration' (read)",
        ),
        Source(
            "gcp",
            ("gcp.vertex_ai", "gcp.gemini"),
            read=lambda path: cloud_file.read(path, cloud_file.GCP),
        ),
        Source("aws", ("aws.bedrock",), read=lambda path: cloud_file.read(path, cloud_file.AWS)),
        Source(
            "azure",
            ("azure.ai.openai", "azure.ai.inference"),
            read=lambda path: cloud_file.read(path, cloud_file.AZURE),
        ),
    )
}
"""By the name that `tallyspan import` and `imports:` call it."""
