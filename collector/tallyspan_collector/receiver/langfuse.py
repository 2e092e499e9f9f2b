"""The requests of LibreChat and of Langfuse's SDKs besides traces.

Spans themselves come to `.../api/public/otel/v1/traces`, a path like any other. Requests here are
answered so that the client goes on, and nothing of them is kept. Source: LibreChat and
@librechat/agents 3.0 to 3.9, measured.
"""

import uuid
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tallyspan_collector.receiver.intake import Intake, NoKeyError, TooOftenError

_API = "/{prefix:path}api/public"
PROJECT_ID = "tallyspan"


def routes(intake: Intake) -> list[Route]:
    """Return the routes, each behind the ingest key, whatever prefix the base URL has."""

    def answering(status: int, body: object) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                intake.authenticate(request.headers.get("authorization", ""))
            except NoKeyError as error:
                return JSONResponse({"message": str(error)}, 401)
            except TooOftenError as error:
                return JSONResponse({"message": str(error)}, 429)
            content = {"id": str(uuid.uuid4())} if body is None else body
            return JSONResponse(content, status)

        return answer

    # an uploadUrl of null tells the SDK that the media is there already
    media = {"mediaId": "not-kept", "uploadUrl": None}
    ingested: dict[str, list[object]] = {"successes": [], "errors": []}
    unsupported = {"message": "observations are not served here"}
    answers: list[tuple[str, str, int, object]] = [
        ("GET", "/projects", 200, {"data": [{"id": PROJECT_ID, "name": PROJECT_ID}]}),
        ("POST", "/media", 200, media),
        ("PATCH", "/media/{id}", 200, {}),
        ("POST", "/scores", 200, None),
        ("DELETE", "/scores/{id}", 200, {}),
        ("POST", "/ingestion", 207, ingested),
        ("GET", "/v2/observations", 404, unsupported),
    ]
    return [
        Route(_API + path, answering(status, body), methods=[method])
        for method, path, status, body in answers
    ]
