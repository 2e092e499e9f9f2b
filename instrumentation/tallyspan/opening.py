"""What is known of a call when it is sent, as attributes of its span."""

from opentelemetry.context import Context

from tallyspan import conditions, semconv
from tallyspan.attribution import attributes_in_force
from tallyspan.recognise import Endpoint
from tallyspan.span import Attributes


def describe(
    endpoint: Endpoint,
    server: tuple[str, int | None],
    scope: Context,
    *,
    model: str,
    user_id: str,
    is_stream: bool,
) -> Attributes:
    """Return the attributes of a call that is sent in the context.

    `server`: host and port. `model` and `user_id`: as the request says; empty: it does not.
    """
    attributes: Attributes = {
        semconv.OPERATION: endpoint.operation,
        semconv.PROVIDER: endpoint.provider,
        semconv.ENDPOINT_ID: endpoint.endpoint_id,
        semconv.SERVER_ADDRESS: server[0],
    }
    if model:
        attributes[semconv.REQUEST_MODEL] = model
    if server[1] is not None:
        attributes[semconv.SERVER_PORT] = server[1]
    if endpoint.region:
        attributes[conditions.REGION.attribute] = endpoint.region
    if is_stream:
        attributes[semconv.REQUEST_STREAM] = True
    if user_id:
        attributes[semconv.USER_ID] = user_id
    attributes.update(attributes_in_force(scope))
    return attributes
