"""What can have a price: classes of tokens, and things that are counted one by one.

A class that has no price of its own is part of the class above it: cache reads without a price
are input. The leaf of a class is its count without that of its priced parts; a cost is the sum of
leaf times price. The dimensions, and so what is part of what, are those of genai-prices
(https://github.com/pydantic/genai-prices, prices/units.yml).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

Dimensions = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Unit:
    """A class and how it is counted: `count` is variable -> share of it in the count.

    Variables are the fields of `Usage` and the names in `Call.units`. A class nobody counts has an
    empty `count`.
    """

    name: str
    dimensions: Dimensions
    count: Mapping[str, Fraction]

    @property
    def direction(self) -> str:
        """`input`, `output`, or empty for what is neither."""
        return next((value for key, value in self.dimensions if key == "direction"), "")

    def is_part_of(self, other: "Unit") -> bool:
        """Whether all that is counted here is counted there, too."""
        return other.dimensions < self.dimensions


def _unit(name: str, variable: str, **dimensions: str) -> Unit:
    count = MappingProxyType({variable: Fraction(1)} if variable else {})
    return Unit(name, frozenset(dimensions.items()), count)


def _tokens(name: str, variable: str, direction: str, **dimensions: str) -> Unit:
    return _unit(name, variable, family="tokens", direction=direction, **dimensions)


INPUT = _tokens("input", "input_tokens", "input")
OUTPUT = _tokens("output", "output_tokens", "output")
TOKEN_UNITS: tuple[Unit, ...] = (
    INPUT,
    OUTPUT,
    _tokens("cache_read", "cache_read_tokens", "input", token_type="cache_read"),  # noqa: S106  tokens, not passwords
    _tokens("cache_write", "cache_write_tokens", "input", token_type="cache_write"),  # noqa: S106
    _tokens(
        "cache_write_1h",
        "cache_write_1h_tokens",
        "input",
        token_type="cache_write",  # noqa: S106
        cache_ttl="1h",
    ),
    _tokens(
        "cache_read_audio",
        "cache_read_audio_tokens",
        "input",
        token_type="cache_read",  # noqa: S106
        modality="audio",
    ),
    _tokens("reasoning", "reasoning_tokens", "output", token_type="reasoning"),  # noqa: S106
    _tokens("input_audio", "input_audio_tokens", "input", modality="audio"),
    _tokens("output_audio", "output_audio_tokens", "output", modality="audio"),
    _tokens("input_image", "input_image_tokens", "input", modality="image"),
    _tokens("output_image", "output_image_tokens", "output", modality="image"),
)
"""Classes of tokens, by the names a price file gives them."""

REQUESTS = "requests"
"""The variable that is 1 in every call."""

COUNTED_UNITS: Mapping[str, Unit] = {
    "per_request": _unit("per_request", REQUESTS, family="requests"),
    "per_image": _unit("per_image", "images", family="images", direction="output"),
    "per_second": _unit("per_second", "seconds", family="seconds", direction="input"),
    "per_character": _unit("per_character", "characters", family="characters", direction="input"),
    "per_page": _unit("per_page", "pages", family="pages", direction="input"),
    "per_search_unit": _unit("per_search_unit", "search_units", family="rerank"),
}
"""What a price file can price one by one; the variables are names in `Call.units`."""


def tool(name: str) -> Unit:
    """Return the unit of one use of a provider's tool, such as `web_search`."""
    return _unit(name, name, family="tools", tool=name)


TOKEN_VARIABLES: Mapping[str, Unit] = {
    variable: unit for unit in TOKEN_UNITS for variable in unit.count
}
