"""What a call could have been instead: of another model, of another tier, or without the cache."""

import time
from dataclasses import dataclass

from tallyspan.formats import PROVIDERS
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_collector.files.nearest import nearest
from tallyspan_collector.pricing import sellers
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import UNKNOWN_MODEL
from tallyspan_collector.pricing.match import names

TIERS = ("standard", "batch", "flex", "priority", "fast")
NO_CACHE = ("no-cache", "cache")
"""Both mean: all that the cache read or wrote at the price of input."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another model (`provider` may be empty), another tier, or no cache: one of the three.

    A `model` without a provider is taken where each call was made, if it has a price there, and
    else from the one of `sellers`; of several, nobody knows which. `text` is how people write it.
    """

    text: str
    model: str = ""
    provider: str = ""
    sellers: tuple[str, ...] = ()
    tier: str = ""

    @property
    def is_without_cache(self) -> bool:
        """Whether only the cache is left out."""
        return not self.model and not self.tier


def read(text: str, book: PriceBook) -> Alternative:
    """Return what `batch`, `no-cache`, `MODEL` or `PROVIDER/MODEL` means.

    Raises RequestError for what is no tier and no model with a price.
    """
    word = text.strip().lower()
    if word in NO_CACHE:
        return Alternative(NO_CACHE[0])
    if word in TIERS:
        return Alternative(word, tier=word)
    vendor, slash, model = text.strip().partition("/")
    provider = sellers.service_of(vendor) or vendor
    if slash and model and _is_sold(book, provider, model):
        return Alternative(f"{provider}/{model}", model, provider)
    name = text.strip()
    sold_by = _sellers(book, name) if name else ()
    if not sold_by and not _is_in_file(book, name):
        raise RequestError(_unknown(name, book))
    return Alternative(name, name, sellers=sold_by)


def _sellers(book: PriceBook, name: str) -> tuple[str, ...]:
    """Return who sells the model: its maker alone, if it is known and sells it."""
    maker = sellers.maker_of(name)
    if maker and _is_sold(book, maker, name):
        return (maker,)
    own_lists = sorted(PROVIDERS.keys() - sellers.SAME_LIST.keys())
    sold_by = tuple(each for each in own_lists if _is_sold(book, each, name))
    makers = tuple(each for each in sold_by if each in sellers.MAKERS)
    return makers if len(makers) == 1 else sold_by


def _is_sold(book: PriceBook, provider: str, model: str) -> bool:
    return book.quote(provider, "", model, "", time.time_ns()) is not UNKNOWN_MODEL


def _is_in_file(book: PriceBook, name: str) -> bool:
    """Whether the administrator's file names the model, perhaps at some endpoints only."""
    models = {rate.match.model for rate in book.file.rates}
    models |= {alias.match.model for alias in book.file.aliases}
    return any(model.lower() in names(name) for model in models)


def _unknown(name: str, book: PriceBook) -> str:
    models = {model.id for provider in book.data.providers for model in provider.models}
    models |= {rate.match.model for rate in book.file.rates}
    match = nearest(name, sorted({*models, *TIERS, NO_CACHE[0]}))
    guess = f"; did you mean {match!r}?" if match else ""
    return (
        f"{name[:60]!r} is no model with a price, no tier ({', '.join(TIERS)})"
        f" and not {NO_CACHE[0]}{guess}"
    )
