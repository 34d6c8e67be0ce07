"""What an upstream's HTTP status means for the attempt and for the backend."""

from nexus.core.outcome import FailureKind

THROTTLED = 429
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_FAILURES = {
    401: FailureKind.AUTH,
    403: FailureKind.AUTH,
    404: FailureKind.MODEL_MISSING,
    408: FailureKind.UPSTREAM_TIMEOUT,
}


def failure_of(status: int) -> FailureKind | None:
    """Why this status fails the attempt; None where it is the client's own fault (400, 413, 422 …).

    429 fails the attempt too, but says nothing about the backend's quality; the caller tells it apart.
    """
    kind = _FAILURES.get(status)
    if kind is not None or status == THROTTLED:
        return kind or FailureKind.SERVER_ERROR
    if _CLIENT_ERROR <= status < _SERVER_ERROR:
        return None
    return FailureKind.SERVER_ERROR
