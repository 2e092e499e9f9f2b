"""Which key of LiteLLM's price map has the price of which of our meters, tiers and contexts."""

import re
from typing import NamedTuple

_CLASSES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
    "cache_read_input_image_token_cost": "cache_read_image",
    "input_cost_per_video_token": "input_video",
    "output_cost_per_video_token": "output_video",
}
"""Keys without tier and context -> what our price files call the price."""
FEES = {"google_maps_grounding_cost_per_query": "maps_grounding"}
SEARCH = "search_context_cost_per_query"
"""A mapping by the size of the search's context; providers with one price have it three times."""
SEARCH_SIZES = tuple(f"search_context_size_{size}" for size in ("low", "medium", "high"))

_TIERS = {
    "": "",
    "_batches": "batch",
    "_flex": "flex",
    "_priority": "priority",
    "_ultrafast": "ultrafast",
}
_NOT_COMPARED = re.compile(
    r"citation_cost_per_token"  # Perplexity: no meter of ours counts citations
    r"|(?:input|output)_dbu_cost_per_token"  # Databricks' own unit, beside the price in USD
    r"|input_cost_per_token_cache_hit"  # an older name of the cached price, beside the newer one
    r"|explicit_cache_read_input_token_cost"  # DashScope: a second kind of cache
    r"|cache_creation_input_audio_token_cost"  # nobody reports such writes
    r"|\w+_(?:balanced|decisions)"  # tiers of services that we do not read
    r"|\w+_per_(?:1k|second|character|image)_\w+"  # of units, in a context of so many tokens
)
_KEY = re.compile(
    rf"(?P<base>{'|'.join(sorted(_CLASSES, key=len, reverse=True))})"
    r"(?:_above_(?P<above>\d{1,5})k_tokens)?"
    rf"(?P<tier>{'|'.join(each for each in _TIERS if each)})?"
)
_OF_TOKENS = re.compile(r"cost\w*token|token\w*cost")


class Slot(NamedTuple):
    """Where a price of tokens belongs: meter, tier, and above how many input tokens it holds."""

    meter: str
    tier: str
    above: int


def slot(key: str) -> Slot | None:
    """Return where the price under the key belongs; None: it is none that is compared."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    above = int(match["above"]) * 1000 if match["above"] else -1
    return Slot(_CLASSES[match["base"]], _TIERS[match["tier"] or ""], above)


def is_new(key: str) -> bool:
    """Whether the key is of a price of tokens that this version does not know."""
    return (
        _OF_TOKENS.search(key) is not None
        and slot(key) is None
        and _NOT_COMPARED.fullmatch(key) is None
    )


KEYS = tuple(_CLASSES)
