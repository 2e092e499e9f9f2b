"""Bedrock batches: who created a job, and its model, which its results do not name.

A job is created and asked for at Bedrock's control plane; its results are written to S3, below the
last part of its ARN. Source: AWS's API reference (CreateModelInvocationJob).
"""

from tallyspan.answer import Answer, Json, text
from tallyspan.batch import Batch
from tallyspan.batch_format import of_state
from tallyspan.providers import AWS_BEDROCK
from tallyspan.wire_format import Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what a job says of itself."""
    job_id = text(body.get("jobArn")).rpartition("/")[2]
    if job_id:
        answer.batch = Batch(job_id)
        answer.batch.model = text(body.get("modelId")).rpartition("/")[2]


FORMAT = of_state(
    "bedrock_batch",
    AWS_BEDROCK,
    (
        Path("/model-invocation-job", "chat", is_batch=True),
        Path("/model-invocation-jobs", "chat", is_retrieval=True, is_batch=True),
        Path(
            "/model-invocation-job/(?:arn:[^/]+/)?(?P<id>[a-z0-9]{12})",
            "chat",
            example="/model-invocation-job/arn:aws:bedrock:r:1:model-invocation-job/abcdefgh1234",
            is_retrieval=True,
            is_batch=True,
        ),
    ),
    read,
    no_estimate="what a job used is in its results",
    lists="invocationJobSummaries",
    request=RequestKeys(model="modelId", stream="", user=(), call=frozenset()),
)
