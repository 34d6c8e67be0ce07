"""One health check of one backend: is it up, and what does it serve."""

from collections.abc import Mapping

from msgspec import Struct

from nexus.backends.fetch import Fetch, FetchError, FetchResult
from nexus.core.backend import Backend, ModelInfo
from nexus.dialects.base import Dialect, DialectError

_BAD_KEY = frozenset({401, 403})
_NO_SUCH_PATH = frozenset({404, 405, 501})
_TOO_MANY = 429
_SHOWN_BYTES = 120


class CheckResult(Struct, frozen=True):
    """What a check found.

    `reason` says what is wrong when not `ok`. `models` is None where no list was had, which leaves the known
    one standing. `warning` is for the log: the backend is up, but has nothing to serve.
    """

    ok: bool
    reason: str = ""
    models: tuple[ModelInfo, ...] | None = None
    warning: str = ""


async def check_backend(
    backend: Backend, dialect: Dialect, fetch: Fetch, timeout_seconds: float
) -> CheckResult:
    """Ask the backend's health path and its list of models; one request where they are the same path.

    Each request may take `timeout_seconds`. Never raises for anything the backend does.
    """
    try:
        answer = await _get(fetch, backend, dialect, dialect.health_path, timeout_seconds)
    except FetchError as error:
        return CheckResult(ok=False, reason=str(error))
    if dialect.health_path == dialect.models_path:
        return _judge_list_as_health(backend, dialect, answer)
    if not answer.is_success and answer.status != _TOO_MANY:
        return CheckResult(ok=False, reason=_complaint(dialect.health_path, answer))
    try:
        answer = await _get(fetch, backend, dialect, dialect.models_path, timeout_seconds)
    except FetchError as error:
        return _without_list(backend, str(error))
    if answer.status in _BAD_KEY:
        return CheckResult(ok=False, reason=_complaint(dialect.models_path, answer))
    return _read_list(backend, dialect, answer)


async def _get(
    fetch: Fetch, backend: Backend, dialect: Dialect, path: str, timeout_seconds: float
) -> FetchResult:
    headers: Mapping[str, str] = backend.headers
    named = (*dialect.auth_headers(backend), *headers.items())
    return await fetch(backend.url + path, named, timeout_seconds)


def _judge_list_as_health(backend: Backend, dialect: Dialect, answer: FetchResult) -> CheckResult:
    # A server without a list is up all the same, and one that says "too many requests" is busy, not down.
    if not answer.is_success and answer.status != _TOO_MANY and answer.status not in _NO_SUCH_PATH:
        return CheckResult(ok=False, reason=_complaint(dialect.models_path, answer))
    result = _read_list(backend, dialect, answer)
    if answer.is_success and result.models is None and not backend.models:
        # Something answers, but it isn't the kind of server it is configured as.
        return CheckResult(ok=False, reason=result.warning)
    return result


def _read_list(backend: Backend, dialect: Dialect, answer: FetchResult) -> CheckResult:
    if not answer.is_success:
        return _without_list(backend, _complaint(dialect.models_path, answer))
    try:
        models = dialect.parse_models(answer.body)
    except DialectError as error:
        return _without_list(backend, f"{dialect.models_path} gave no list of models: {error}")
    warning = "" if models or backend.models else "it lists no models, so it gets no requests"
    return CheckResult(ok=True, models=models, warning=warning)


def _without_list(backend: Backend, why: str) -> CheckResult:
    if backend.models:
        return CheckResult(ok=True)
    return CheckResult(ok=True, warning=f"its models can't be listed ({why}); name them in `models`")


def _complaint(path: str, answer: FetchResult) -> str:
    said = f"it answered {answer.status} to {path}"
    if answer.status in _BAD_KEY:
        return f"{said}: its API key is wrong or missing; check `api_key_env`"
    if answer.status in _NO_SUCH_PATH:
        return f"{said}; check `type` and `url`"
    if 300 <= answer.status < 400:  # noqa: PLR2004 - the class of the status
        return f"{said}, a redirect; check `url`"
    text = " ".join(answer.body[:_SHOWN_BYTES].decode("utf-8", "replace").split())
    return f"{said}: {text}" if text else said
