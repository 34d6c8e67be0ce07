"""GET and POST /v1/suggestions: code that answers suggested, as fingerprints, and what became of it."""

from typing import Protocol

import msgspec
from msgspec import UNSET
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from nexus.outcomes import OutcomeTracker
from nexus.outcomes.code.winnow import Fingerprint
from nexus.outcomes.code.wire import (
    GivenCheck,
    GivenVerdicts,
    ShownSuggestion,
    ShownSuggestions,
    with_elsewhere,
)
from nexus.outcomes.outcome import GIT_SIGNAL
from nexus.server.answers import ApiError, json_response
from nexus.server.elsewhere import Elsewhere, Nobody
from nexus.server.outcomes import UNKNOWN, ShownResult, ShownResults

_WAITING = "suggestions"
_VERDICTS = "verdicts"


class SuggestionSource(Protocol):
    """Where suggestions are kept."""

    @property
    def tracker(self) -> OutcomeTracker:
        """The calls that wait."""
        ...

    async def settle(self) -> None:
        """Read the answers that were given a moment ago."""
        ...


class SuggestionsSurface:
    """Shows what waits for a repository, and takes the verdicts; `source` None: outcomes are switched off.

    `elsewhere` is asked for what waits in other processes, and told of the verdicts.
    """

    def __init__(self, source: SuggestionSource | None, elsewhere: Elsewhere | None = None) -> None:
        self._source = source
        self._elsewhere = elsewhere or Nobody()
        self._elsewhere.answer(_WAITING, self.waiting)
        self._elsewhere.answer(_VERDICTS, self.verdicts)

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [
            Route("/v1/suggestions", self.show, methods=["GET"]),
            Route("/v1/suggestions", self.take, methods=["POST"]),
        ]

    async def show(self, http: HttpRequest) -> Response:  # noqa: ARG002  # Starlette's signature
        """All that waits."""
        source = self._on()
        await source.settle()
        shown = [*_waiting(source.tracker)]
        for answer in await self._elsewhere.ask(_WAITING, b""):
            shown += msgspec.json.decode(answer, type=tuple[ShownSuggestion, ...])
        shown.sort(key=lambda each: -each.age_seconds)
        return json_response(ShownSuggestions(source.tracker.git_deadline_seconds, tuple(shown)))

    async def take(self, http: HttpRequest) -> Response:
        """Apply verdicts; nothing is applied where the body is wrong."""
        tracker = self._on().tracker
        body = await http.body()
        try:
            given = msgspec.json.decode(body, type=GivenVerdicts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _wrong(f"The body is no list of verdicts: {error}.") from None
        try:
            results = {each.trace_id: each for each in _apply(tracker, given)}
        except ValueError as error:
            raise _wrong(f"{error}.") from None
        for answer in await self._elsewhere.ask(_VERDICTS, body):
            found = msgspec.json.decode(answer, type=ShownResults).results
            results.update((each.trace_id, each) for each in found if each.reason != UNKNOWN)
        return json_response(ShownResults(tuple(results[each.trace_id] for each in given.verdicts)))

    def waiting(self, body: bytes) -> bytes:
        """What waits here, for another process."""
        del body
        return b"" if self._source is None else msgspec.json.encode(_waiting(self._source.tracker))

    def verdicts(self, body: bytes) -> bytes:
        """Apply what another process was told, as far as it is known here."""
        if self._source is None:
            return b""
        given = msgspec.json.decode(body, type=GivenVerdicts)
        return msgspec.json.encode(ShownResults(_apply(self._source.tracker, given)))

    def _on(self) -> SuggestionSource:
        if self._source is None:
            message = "Outcomes are switched off (outcomes.enabled = false)."
            raise ApiError(404, "not_found", message, "not_found_error")
        return self._source


def _waiting(tracker: OutcomeTracker) -> tuple[ShownSuggestion, ...]:
    now = tracker.clock.monotonic()
    return tuple(
        ShownSuggestion(call.trace_id, call.model_id, now - call.completed_at, prints)
        for call in tracker.pending_suggestions()
        if call.completed_at is not None and (prints := _fingerprints(call.suggestions))
    )


def _apply(tracker: OutcomeTracker, given: GivenVerdicts) -> tuple[ShownResult, ...]:
    """The results of the verdicts; ValueError, and nothing is applied, where a check is malformed."""
    renewed = [(each.trace_id, found) for each in given.checked if (found := _renewed(tracker, each))]
    results = []
    for verdict in given.verdicts:
        taken = tracker.record_code_outcome(verdict.trace_id, verdict.code_outcome, signal=GIT_SIGNAL)
        reason = UNSET if taken.reason is None else taken.reason
        results.append(ShownResult(verdict.trace_id, taken.applied, reason))
    for trace_id, fingerprints in renewed:
        tracker.renew_suggestions(trace_id, fingerprints)
    tracker.note_checked(each.trace_id for each in given.checked)
    return tuple(results)


def _fingerprints(suggestions: tuple[object, ...]) -> tuple[Fingerprint, ...]:
    return tuple(each for each in suggestions if isinstance(each, Fingerprint))


def _renewed(tracker: OutcomeTracker, given: GivenCheck) -> tuple[Fingerprint, ...]:
    """The fingerprints of a call with what was found elsewhere; none where there is nothing to renew."""
    call = tracker.get_pending(given.trace_id) if given.elsewhere else None
    if call is None:
        return ()
    try:
        return with_elsewhere(_fingerprints(call.suggestions), given.elsewhere)
    except ValueError as error:
        raise ValueError(f"`elsewhere` of {given.trace_id[:64]}: {error}") from error


def _wrong(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message, "invalid_request_error")
