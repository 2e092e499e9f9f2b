"""Videos of Veo: those that an operation has made, once it is done.

Videos that were filtered are not there, and not billed. Source: as of `google_operation`.
"""

from tallyspan.answer import Answer, Json, items, mapping
from tallyspan.batch import Batch, Item, Kind, key_of
from tallyspan.batch_format import of_state
from tallyspan.formats.google_operation import operation_id
from tallyspan.providers import GEMINI
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take the videos of an operation that is done; one that failed has none."""
    response = mapping(body.get("response"))
    content = mapping(response.get("generateVideoResponse")) or response
    videos = items(content.get("generatedSamples")) or items(content.get("videos"))
    batch = answer.batch = Batch(operation_id(body), tier="", is_older=True)
    for number, _ in enumerate(videos):
        item = Item(key_of(f"#{number}"), 0, "", {"videos": 1})
        batch.add(Kind("generate_content", ""), item, [])


FORMAT = of_state(
    "google_operation_state",
    GEMINI,
    (
        Path(
            r"/models/(?P<model>veo[^/:]*)/operations/(?P<id>[^/:]+)",
            "generate_content",
            example="/v1beta/models/veo-3.1-generate-preview/operations/o1",
            is_retrieval=True,
            is_batch=True,
        ),
        Path(
            r"/models/(?P<model>veo[^/:]*):fetchPredictOperation",
            "generate_content",
            example="/v1/publishers/google/models/veo-3.1-generate-001:fetchPredictOperation",
            is_batch=True,
        ),
    ),
    read,
    no_estimate="an operation bills what it made, when it is done",
)
