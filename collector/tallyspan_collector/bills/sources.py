"""Who reports usage and costs, and how they are asked: a line each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from tallyspan_collector.bills import (
    anthropic,
    anthropic_enterprise,
    bill_file,
    claude_code,
    cloud_file,
    copilot,
    openai,
    openrouter,
)
from tallyspan_collector.bills.billed import Billed
from tallyspan_collector.bills.exchange import Exchange
from tallyspan_collector.bills.file_terms import FileTerms
from tallyspan_collector.bills.pages import ADMIN_KEY, Api

_ALL = ("project", "api_key", "user")


@dataclass(frozen=True, slots=True)
class Source:
    """Something that reports usage: by an API (`fetch`), as a file (`read`), or both.

    Some are bills as well: `bill` asks an API for days, by nothing or one of `splits`, `bill_file`
    reads a file. What they bill in other currencies is in USD by the rates they are handed.

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
    bill: Callable[[Api, date, date, str, Exchange], Iterator[Billed]] | None = None
    bill_file: Callable[[Path, FileTerms], Iterator[Billed]] | None = None
    splits: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    also_in: str = ""
    has_all_costs: bool = False
    needs_organization: bool = False
    wanted_key: str = ADMIN_KEY

    @property
    def provider(self) -> str:
        """Return the provider of lines that name none."""
        return self.providers[0]


_PROJECTS_AND_KEYS = ("project", "api_key")


def _bill_file(path: Path) -> Iterator[Billed]:
    return bill_file.read(path, FileTerms())


def _of_openai(api: Api, first: date, last: date, by: str, exchange: Exchange) -> Iterator[Billed]:
    groups = [by] if by else []
    return openai.bill(api, first, last, groups, exchange, _PROJECTS_AND_KEYS)


def _of_anthropic(
    api: Api, first: date, last: date, by: str, exchange: Exchange
) -> Iterator[Billed]:
    lines = anthropic.bill(api, first, last, [by] if by else [], exchange, _PROJECTS_AND_KEYS)
    # its costs are of no key
    return (line for line in lines if by != "api_key" or line.cost_usd is None)


def _of_openrouter(api: Api, first: date, last: date, by: str, _: Exchange) -> Iterator[Billed]:
    return openrouter.bill(api, first, last, [by] if by else [])


def _of_cloud(
    kinds: tuple[cloud_file.Columns, ...], path: Path, terms: FileTerms
) -> Iterator[Billed]:
    return cloud_file.bill(path, kinds, terms)


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
            _of_openai,
            bill_file.read,
            _PROJECTS_AND_KEYS,
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
            _of_anthropic,
            bill_file.read,
            _PROJECTS_AND_KEYS,
        ),
        Source(
            "openrouter",
            openrouter.PROVIDERS,
            openrouter.KEY,
            openrouter.BASE,
            openrouter.headers,
            lambda api, first, last, _: openrouter.bill(api, first, last, ("api_key",)),
            bill=_of_openrouter,
            splits=("api_key",),
            has_all_costs=True,
            wanted_key=openrouter.WANTED_KEY,
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
        *(
            Source(
                name,
                providers,
                read=partial(cloud_file.read, kinds=kinds),
                bill_file=partial(_of_cloud, kinds),
                splits=("project",),
            )
            for name, providers, kinds in (
                ("gcp", ("gcp.vertex_ai", "gcp.gemini"), cloud_file.GCP),
                ("aws", ("aws.bedrock",), cloud_file.AWS),
                ("azure", ("azure.ai.openai", "azure.ai.inference"), cloud_file.AZURE),
            )
        ),
    )
}
"""By the name that `tallyspan import` and `imports:` call it."""

BILLS = {name: each for name, each in SOURCES.items() if each.bill or each.bill_file}
"""Those whose bill can be compared."""
