"""Vertex `:predict`: tokens and characters of embeddings; pictures of Imagen, billed apiece."""

from tallyspan.answer import Answer, Json, count, items, mapping, total
from tallyspan.framing import Interest
from tallyspan.providers import VERTEX_AI
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what the answer says."""
    input_tokens = total(
        *(
            count(mapping(mapping(each.get("embeddings")).get("statistics")).get("token_count"))
            for each in items(body.get("predictions"))
        )
    )
    if input_tokens is not None:
        answer.usage = Usage(input_tokens=input_tokens)
    # Older embedding models are billed by characters.
    answer.billed("characters", mapping(body.get("metadata")).get("billableCharacterCount"))
    pictures = [each for each in items(body.get("predictions")) if "bytesBase64Encoded" in each]
    answer.billed("images", len(pictures) + len(items(body.get("generatedImages"))))


FORMAT = Format(
    name="vertex_predict",
    provider=VERTEX_AI,
    paths=(
        Path(
            r"/models/(?P<model>imagen[^/:]*):predict",
            "generate_content",
            example="/v1beta/models/imagen-4.0-generate-001:predict",
        ),
        Path(
            r"/publishers/google/models/(?P<model>[^/:]+):predict",
            "embeddings",
            example="/v1/projects/p/locations/l/publishers/google/models/gemini-embedding:predict",
        ),
    ),
    request=RequestKeys(model="", stream="", user=USER_KEYS, call=frozenset({"instances"})),
    estimate=NoEstimate("counts come with every prediction, and there are no streams"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"predictions"',)),
    reader=lambda: read,
    usage=UsageKeys(at=("metadata",), read=("billableCharacterCount",)),
    read_headers=None,
    read_request=None,
)
