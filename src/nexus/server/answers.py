"""Answers of the control plane: JSON from typed records, and errors in the one envelope."""

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from nexus.core.errors import ErrorContext, ErrorType, NexusError, error_reply


class ApiError(NexusError):
    """An error to be answered with `status` and the envelope."""

    def __init__(
        self, status: int, code: str, message: str, error_type: ErrorType, *, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.error_type = error_type
        self.param = param


def json_response(document: Struct, status: int = 200) -> Response:
    """A typed record as a JSON answer."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")


async def answer_api_error(request: Request, error: Exception) -> Response:
    """Turn an `ApiError` into its envelope."""
    if not isinstance(error, ApiError):
        raise error
    return _envelope(request, error)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Turn Starlette's own errors (no such path, wrong method) into the envelope."""
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path[:200]
    if error.status_code == _METHOD:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{path} does not take {request.method}. Allowed: {allowed}."
        answer = ApiError(_METHOD, "method_not_allowed", message, "invalid_request_error")
    else:
        message = f"There is no path {path}. GET / lists what there is."
        answer = ApiError(error.status_code, "not_found", message, "not_found_error")
    response = _envelope(request, answer)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


_METHOD = 405


def _envelope(request: Request, error: ApiError) -> Response:
    context = ErrorContext(trace_id=request.scope["state"].get("trace_id", ""))
    reply = error_reply(
        error.status, error.code, str(error), error.error_type, param=error.param, context=context
    )
    return Response(reply.encode(), error.status, media_type="application/json")
