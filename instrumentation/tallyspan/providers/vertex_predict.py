"""Vertex `:predict`: embeddings have a count with each prediction, pictures are billed apiece."""

from tallyspan.answer import Answer, Json, count, items, mapping, total
from tallyspan.framing import Interest
from tallyspan.usage import Usage

INTEREST = Interest((b'"predictions"',))


def read(body: Json, answer: Answer) -> None:
    """Take what the answer says."""
    counted = total(
        *(
            count(mapping(mapping(each.get("embeddings")).get("statistics")).get("token_count"))
            for each in items(body.get("predictions"))
        )
    )
    if counted is not None:
        answer.usage = Usage(input_tokens=counted)
    pictures = [each for each in items(body.get("predictions")) if "bytesBase64Encoded" in each]
    answer.billed("images", len(pictures) + len(items(body.get("generatedImages"))))
