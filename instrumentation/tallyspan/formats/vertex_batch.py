"""Vertex batches: who created a job, its model, and the folder of its results.

Source: Vertex AI's API reference (batchPredictionJobs), and the types of google-genai 3.6.
"""

from tallyspan.answer import Answer, Json, mapping, text
from tallyspan.batch import Batch
from tallyspan.batch_format import of_state
from tallyspan.providers import VERTEX_AI
from tallyspan.wire_format import Path


def read(body: Json, answer: Answer) -> None:
    """Take what a job says of itself."""
    above, _, job_id = text(body.get("name")).rpartition("/")
    if not job_id or not above.endswith("/batchPredictionJobs"):
        return
    batch = answer.batch = Batch(job_id)
    batch.model = text(body.get("model")).rpartition("/")[2].partition("@")[0]
    folder = text(mapping(body.get("outputInfo")).get("gcsOutputDirectory"))
    bucket, _, path = folder.removeprefix("gs://").rstrip("/").partition("/")
    # As the results are asked for: at /b/<bucket>/o/<path>.
    batch.files = (f"{bucket}/o/{path}",) if path else ()


FORMAT = of_state(
    "vertex_batch",
    VERTEX_AI,
    (
        Path("/batchPredictionJobs", "generate_content", is_batch=True),
        Path("/batchPredictionJobs", "generate_content", is_retrieval=True, is_batch=True),
        Path(
            "/batchPredictionJobs/(?P<id>[^/:]+)",
            "generate_content",
            example="/v1/projects/p/locations/l/batchPredictionJobs/1",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="what a job used is in its results",
    lists="batchPredictionJobs",
)
