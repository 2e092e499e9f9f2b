"""What a call can be billed for, a line each: classes of tokens, and units counted one by one.

Formats and dialects count in these meters, price files price them, the ledger keeps them. A meter
is a part of every other one whose dimensions are all among its own: cached image tokens are image
input, cache reads, and input. So one without a price of its own costs what the next wider one costs
(the dimensions are those of genai-prices: github.com/pydantic/genai-prices, prices/units.yml).

The common counts are fields of `Usage` and columns of the ledger (`is_column`), the others stand
in the map `meters`. A new meter is a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Dimensions = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Meter:
    """A class of tokens, or a kind of unit.

    `price_key`: what a price file calls its price. `attribute`: the span attribute that has it.
    `is_column`: a field of `Usage` and a column of the ledger. `is_extra`: billed on top of
    everything else, so a price that lacks it is too low; other meters without a price are part of
    a wider one, or are not billed where nobody has a price for them. `is_of_collector`: worked out
    there, and not taken from a sender.
    """

    name: str
    price_key: str
    comment: str
    dimensions: Dimensions
    attribute: str = ""
    is_column: bool = False
    is_extra: bool = False
    is_of_collector: bool = False

    def __post_init__(self) -> None:
        if not self.attribute:
            object.__setattr__(self, "attribute", PREFIX + self.name)

    @property
    def direction(self) -> str:
        """`input`, `output`, or empty for what is neither."""
        return next((value for key, value in self.dimensions if key == "direction"), "")

    @property
    def free(self) -> "Meter | None":
        """The meter of what an allowance makes free of this one; None: there is none."""
        return BY_DIMENSIONS.get(self.dimensions | _FREE)

    @property
    def is_tokens(self) -> bool:
        """Whether it counts tokens."""
        return ("family", "tokens") in self.dimensions

    def is_part_of(self, other: "Meter") -> bool:
        """Whether all that is counted here is counted there, too."""
        return other.dimensions < self.dimensions


PREFIX = "tallyspan.meter."
_FREE = frozenset({("allowance", "free")})
_USAGE = "gen_ai.usage."


def _tokens(
    name: str, direction: str, comment: str, attribute: str = "", **dimensions: str
) -> Meter:
    return Meter(
        f"{name}_tokens",
        name,
        comment,
        frozenset({"family": "tokens", "direction": direction, **dimensions}.items()),
        attribute,
        is_column=bool(attribute),
    )


def _units(
    name: str, comment: str, price_key: str = "", *, is_extra: bool = False, **dimensions: str
) -> Meter:
    dimensions = dimensions or {"family": "tool_calls", "tool_type": name}
    return Meter(
        name,
        price_key or name,
        comment,
        frozenset(dimensions.items()),
        is_extra=is_extra,
        is_of_collector="allowance" in dimensions or name == "requests",
    )


_READ = {"token_type": "cache_read"}
_WRITE = {"token_type": "cache_write"}
METERS: tuple[Meter, ...] = (
    _tokens("input", "input", "Prompt tokens, all parts included", f"{_USAGE}input_tokens"),
    _tokens("output", "output", "Generated tokens, all parts included", f"{_USAGE}output_tokens"),
    _tokens("cache_read", "input", "Prompt tokens read from the provider's cache",
            f"{_USAGE}cache_read.input_tokens", **_READ),
    _tokens("cache_write", "input", "Prompt tokens written to the provider's cache",
            f"{_USAGE}cache_write.input_tokens", **_WRITE),
    _tokens("cache_write_1h", "input", "Cache writes kept for an hour",
            "tallyspan.usage.cache_write_1h.input_tokens", cache_ttl="1h", **_WRITE),
    _tokens("cache_read_audio", "input", "Cache reads that were audio",
            f"{_USAGE}audio.cache_read.input_tokens", modality="audio", **_READ),
    _tokens("reasoning", "output", "Generated tokens spent on reasoning",
            f"{_USAGE}reasoning.output_tokens", token_type="reasoning"),
    _tokens("input_audio", "input", "Prompt tokens that were audio",
            f"{_USAGE}audio.input_tokens", modality="audio"),
    _tokens("output_audio", "output", "Generated tokens that were audio",
            f"{_USAGE}audio.output_tokens", modality="audio"),
    _tokens("input_image", "input", "Prompt tokens that were images",
            f"{_USAGE}image.input_tokens", modality="image"),
    _tokens("output_image", "output", "Generated tokens that were images",
            f"{_USAGE}image.output_tokens", modality="image"),
    _tokens("cache_write_12h", "input", "Cache writes kept for twelve hours", cache_ttl="12h", **_WRITE),
    _tokens("cache_read_image", "input", "Cache reads that were images", modality="image", **_READ),
    _tokens("cache_read_video", "input", "Cache reads that were video", modality="video", **_READ),
    _tokens("cache_read_document", "input", "Cache reads that were documents", modality="document", **_READ),
    _tokens("input_video", "input", "Prompt tokens that were video", modality="video"),
    _tokens("input_document", "input", "Prompt tokens that were documents", modality="document"),
    _tokens("input_tool", "input", "Prompt tokens that a provider's tool put in", token_type="tool"),
    _tokens("output_video", "output", "Generated tokens that were video", modality="video"),
    _units("web_search", "Searches of the web", is_extra=True),
    _units("web_search_free", "Searches of the web inside a provider's free allowance",
           family="tool_calls", tool_type="web_search", allowance="free"),
    _units("web_search_preview", "Searches by OpenAI's older tool, web_search_preview", is_extra=True),
    _units("image_search", "Searches for images", is_extra=True),
    _units("maps_grounding", "Answers or queries grounded in Google Maps", is_extra=True),
    _units("file_search", "Searches in stored files", is_extra=True,
           family="tool_calls", tool_type="storage_search"),
    _units("x_search", "Searches of posts on X", is_extra=True),
    _units("search_sources", "Sources that a live search of xAI took in", is_extra=True),
    _units("code_interpreter", "Sessions of a container that runs code", is_extra=True),
    *(
        _units(f"code_interpreter_{memory}g", f"Sessions of a container with {memory} GB of memory",
               is_extra=True)
        for memory in (4, 16, 64)
    ),
    *(
        _units(f"guardrail_{policy}_units", f"Units of {what} that a guardrail of Bedrock checked",
               is_extra=True, family="guardrails", policy=policy)
        for policy, what in (
            ("content", "text for harmful content"), ("image", "images for harmful content"),
            ("topic", "text for denied topics"), ("sensitive", "text for personal data"),
            ("grounding", "text for its grounding"), ("reasoning", "text by rules of logic"),
        )
    ),
    _units("session_seconds", "Seconds that a managed agent was active", is_extra=True),
    _units("search_units", "Searches of a reranker", "per_search_unit", family="rerank"),
    _units("images", "Pictures billed apiece", "per_image", family="images", direction="output"),
    _units("seconds", "Seconds of sound", "per_second", family="durations", modality="audio"),
    _units("characters", "Characters of text to be spoken", "per_character",
           family="characters", direction="input"),
    _units("pages", "Pages of documents", "per_page", family="document_pages", direction="input"),
    _units("annotated_pages", "Pages of documents that were annotated as well",
           family="document_pages", direction="input", page_type="annotated"),
    _units("video_seconds", "Seconds of generated video", family="durations", modality="video"),
    _units("videos", "Videos of which no length is known", is_extra=True,
           family="videos", direction="output"),
    _units("requests", "The call itself", "per_request", family="requests"),
)  # fmt: skip

BY_NAME: Mapping[str, Meter] = MappingProxyType({meter.name: meter for meter in METERS})
BY_PRICE_KEY: Mapping[str, Meter] = MappingProxyType({meter.price_key: meter for meter in METERS})
BY_DIMENSIONS: Mapping[Dimensions, Meter] = MappingProxyType(
    {meter.dimensions: meter for meter in METERS}
)
COLUMN_METERS = tuple(meter for meter in METERS if meter.is_column)
TOKEN_METERS = tuple(meter for meter in METERS if meter.is_tokens)
UNIT_METERS = tuple(meter for meter in METERS if not meter.is_tokens)

if not len(METERS) == len(BY_NAME) == len(BY_PRICE_KEY) == len(BY_DIMENSIONS):
    raise ValueError("two meters have the same name, price key or dimensions")
