"""Videos of OpenAI (Sora) and xAI: who started one, and its seconds, once it is there.

Both say in the state of a video how long it is. OpenAI's price depends on its size. Source:
OpenAI's API types (openai 2.x, `Video`), xAI's API reference (videos).
"""

from tallyspan.answer import Answer, Json, amount, mapping, text
from tallyspan.batch import Batch, Item, Kind, key_of
from tallyspan.batch_format import of_state
from tallyspan.providers import OPENAI
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take what is said of a video: its id when it is started, what it bills when it is done."""
    video_id = text(body.get("request_id"))
    if body.get("object") == "video":
        video_id = text(body.get("id"))
    batch = answer.batch = Batch(video_id, tier="")
    video = mapping(body.get("video"))
    seconds = None
    if body.get("object") == "video" and body.get("status") == "completed":
        seconds = amount(body.get("seconds"))
    elif body.get("status") == "done":
        seconds = amount(video.get("duration"))
    if seconds:
        size = text(body.get("size"))
        conditions = (("resolution", size),) if size else ()
        kind = Kind("generate_content", text(body.get("model")), conditions)
        batch.add(kind, Item(key_of("#0"), 0, "", {"video_seconds": seconds}), [])


FORMAT = of_state(
    "openai_videos",
    OPENAI,
    (
        Path("/videos", "generate_content", example="/v1/videos", is_batch=True),
        Path(
            "/videos/(?:generations|edits|extensions|[^/]+/remix)",
            "generate_content",
            example="/v1/videos/generations",
            is_batch=True,
        ),
        Path(
            "/videos/(?P<id>[^/]+)",
            "generate_content",
            example="/v1/videos/video_1",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="a video bills its seconds, when it is there",
)
