"""The wire formats: a file each, with one value `FORMAT`, discovered by being there."""

from collections.abc import Iterable
from importlib import import_module
from itertools import permutations
from pkgutil import iter_modules

from tallyspan import providers
from tallyspan.providers import Provider
from tallyspan.wire_format import Format, FormatError


def discover(folders: Iterable[str], package: str) -> dict[str, Format]:
    """Return the formats of a package's folders by name. Raises `FormatError`."""
    formats: dict[str, Format] = {}
    for module in iter_modules(folders):
        where = f"{package}.{module.name}"
        try:
            wire_format = getattr(import_module(where), "FORMAT", None)
        except (TypeError, ValueError, FormatError) as error:
            raise FormatError(f"{where}: {error}") from error
        if not isinstance(wire_format, Format):
            raise FormatError(f"{where}: has no FORMAT: write FORMAT = Format(...)")
        if wire_format.name in formats:
            raise FormatError(f"{where}: there is a format {wire_format.name!r} already: rename it")
        formats[wire_format.name] = wire_format
    for one, other in permutations(formats.values(), 2):
        _refuse_overlaps(one, other)
    return formats


def providers_of(formats: Iterable[Format]) -> dict[str, Provider]:
    """Return all providers by name, those with formats of their own too. Raises `FormatError`."""
    named = {provider.name: provider for provider in providers.PROVIDERS}
    for wire_format in formats:
        provider = wire_format.provider
        if named.setdefault(provider.name, provider) != provider:
            raise FormatError(
                f"format {wire_format.name!r}: there is another provider {provider.name!r} already:"
                " use that one"
            )
    for wire_format in formats:
        for path in wire_format.paths:
            for name in filter(None, (path.provider, path.assumed)):
                if name not in named:
                    raise FormatError(
                        f"format {wire_format.name!r}: path {path.pattern!r}: there is no provider"
                        f" {name!r}"
                    )
    return named


def _refuse_overlaps(one: Format, other: Format) -> None:
    for path in one.paths:
        for claim in other.paths:
            if path.can_be_taken_for(claim):
                raise FormatError(
                    f"formats {one.name!r} and {other.name!r} both claim {claim.example!r} at rank"
                    f" {path.rank}: give one of the paths another rank, or a provider"
                )


FORMATS = discover(__path__, __name__)
PROVIDERS = providers_of(FORMATS.values())
