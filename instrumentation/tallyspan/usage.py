"""Token counts of a call in one convention, whatever the provider's own is."""

from dataclasses import dataclass, fields
from operator import attrgetter

from tallyspan.meters import COLUMN_METERS


# Not `frozen`, though nobody changes one: creating it is part of reading every answer.
@dataclass(slots=True, unsafe_hash=True)
class Usage:
    """Token counts of one call. None: the provider sent no such count; 0: it sent zero.

    `input_tokens` is everything billed as prompt, cache reads and writes, audio and images
    included; `output_tokens` everything generated, reasoning and audio included. The others are
    parts of these two (the rule of OpenTelemetry's GenAI conventions since 1.40).
    `cache_write_1h_tokens` is the part of `cache_write_tokens` kept for an hour (Anthropic),
    `cache_read_audio_tokens` what cache reads and audio input have in common (Gemini).
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    cache_read_audio_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None

    def __bool__(self) -> bool:
        """Whether there is any count at all."""
        if self.input_tokens is not None or self.output_tokens is not None:
            return True
        return any(getattr(self, name) is not None for name in TOKEN_FIELDS)


if [each.name for each in fields(Usage)] != [meter.name for meter in COLUMN_METERS]:
    raise TypeError("the fields of Usage are not the meters with a column, in their order")

TOKEN_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Usage))
# Returns the counts of a `Usage`, in the order of `TOKEN_FIELDS`.
counts_of = attrgetter(*TOKEN_FIELDS)
