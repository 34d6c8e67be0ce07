"""POST /v1/outcomes and GET /v1/profiles: what became of answers, and what is known of models."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from nexus.core.request import Request
from nexus.outcomes import CodeOutcome, InferredKind, InferredOutcome, OutcomeTracker, SignalResult
from nexus.outcomes.shown import ShownProfiles, shown_profile
from nexus.server.answers import ApiError, json_response
from nexus.server.elsewhere import Elsewhere, Nobody

MAX_OUTCOMES = 1000
UNKNOWN = "unknown trace"
"""The reason of a result where nobody knows the call."""
_TOPIC = "outcome"
_MISSING = re.compile(r"missing required field `(\w+)`")
_KNOWN = {
    "outcome": f" Known are {', '.join(InferredKind)}.",
    "code_outcome": f" Known are {', '.join(CodeOutcome)}.",
}

InFlight = Callable[[str], Request | None]
"""The request with a trace id that is being answered now; None where there is none."""


class ShownResult(Struct, frozen=True):
    """What was made of one outcome."""

    trace_id: str
    applied: bool
    reason: str | UnsetType = UNSET


class ShownResults(Struct, frozen=True):
    """One result per outcome, in order."""

    results: tuple[ShownResult, ...]


class GivenOutcome(Struct, forbid_unknown_fields=True):
    """What became of one answer: either `outcome`, with how sure that is, or `code_outcome`."""

    trace_id: str
    outcome: InferredKind | None = None
    confidence: float | None = None
    code_outcome: CodeOutcome | None = None


class GivenOutcomes(Struct, forbid_unknown_fields=True):
    """Several at once, at most 1,000."""

    outcomes: list[GivenOutcome]


class OutcomesSurface:
    """Takes feedback and shows profiles. `tracker` is None where outcomes are switched off.

    `elsewhere` is told of outcomes of calls that are not known here.
    """

    def __init__(
        self, tracker: OutcomeTracker | None, in_flight: InFlight, elsewhere: Elsewhere | None = None
    ) -> None:
        self._tracker = tracker
        self._in_flight = in_flight
        self._elsewhere = elsewhere or Nobody()
        self._elsewhere.answer(_TOPIC, self.known)

    def routes(self) -> list[Route]:
        """The paths served here."""
        return [
            Route("/v1/outcomes", self.take, methods=["POST"]),
            Route("/v1/profiles", self.show),
        ]

    async def take(self, http: HttpRequest) -> Response:
        """Apply one outcome, or several; nothing is applied where one of them is wrong."""
        tracker = self._on()
        alone, given = _read(await http.body())
        wanted = [(each.trace_id, _outcome(each, place)) for place, each in given]
        here = [self._apply(tracker, trace_id, outcome) for trace_id, outcome in wanted]
        results = tuple(
            await asyncio.gather(
                *(self._unless_known(result, each) for result, (_, each) in zip(here, given, strict=True))
            )
        )
        if alone and results[0].reason == UNKNOWN:
            message = (
                f"No call {results[0].trace_id[:64]} waits for an outcome; calls are known for a while only."
            )
            raise ApiError(404, "not_found", message, "not_found_error")
        return json_response(ShownResults(results))

    async def show(self, http: HttpRequest) -> Response:  # noqa: ARG002  # Starlette's signature
        """All profiles."""
        tracker = self._on()
        shown = tuple(
            shown_profile(profile, excluded=tracker.is_excluded(profile.model_id))
            for profile in tracker.all_profiles()
        )
        return json_response(ShownProfiles(shown))

    def known(self, body: bytes) -> bytes:
        """Apply one outcome that another process was told; empty where its call is not known here."""
        if self._tracker is None:
            return b""
        given = msgspec.json.decode(body, type=GivenOutcome)
        result = self._apply(self._tracker, given.trace_id, _outcome(given, ""))
        return b"" if result.reason == UNKNOWN else msgspec.json.encode(result)

    async def _unless_known(self, result: ShownResult, given: GivenOutcome) -> ShownResult:
        """The result, or that of the process that knows the call."""
        if result.reason != UNKNOWN:
            return result
        answers = await self._elsewhere.ask(_TOPIC, msgspec.json.encode(given))
        return msgspec.json.decode(answers[0], type=ShownResult) if answers else result

    def _on(self) -> OutcomeTracker:
        if self._tracker is None:
            message = "Outcomes are switched off (outcomes.enabled = false)."
            raise ApiError(404, "not_found", message, "not_found_error")
        return self._tracker

    def _apply(
        self, tracker: OutcomeTracker, trace_id: str, outcome: InferredOutcome | CodeOutcome
    ) -> ShownResult:
        result = _signal(tracker, trace_id, outcome)
        if result.reason == UNKNOWN:
            request = self._in_flight(trace_id)
            if request is not None:
                # The client knows the id from the head of a stream; its call is recorded when it ends.
                tracker.record_start(request.model, request.task, trace_id=trace_id)
                result = _signal(tracker, trace_id, outcome)
        return ShownResult(trace_id, result.applied, UNSET if result.reason is None else result.reason)


def _signal(tracker: OutcomeTracker, trace_id: str, outcome: InferredOutcome | CodeOutcome) -> SignalResult:
    if isinstance(outcome, CodeOutcome):
        return tracker.record_code_outcome(trace_id, outcome)
    return tracker.record_inferred_outcome(trace_id, outcome)


def _read(body: bytes) -> tuple[bool, list[tuple[str, GivenOutcome]]]:
    """Whether one outcome was sent alone, and each with its place in the body (empty for the body itself)."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"The body is not valid JSON: {error}.", None) from None
    if not isinstance(document, dict):
        raise _wrong("The body must be a JSON object.", None)
    if "outcomes" not in document:
        return True, [("", _given(document, ""))]
    several = document["outcomes"]
    if not isinstance(several, list) or len(document) > 1:
        raise _wrong("`outcomes` must be a list, and stand alone.", "outcomes")
    if len(several) > MAX_OUTCOMES:
        raise _wrong(
            f"`outcomes` has {len(several)} entries; send at most {MAX_OUTCOMES} at a time.", "outcomes"
        )
    places = [f"outcomes[{index}]" for index in range(len(several))]
    return False, [(place, _given(each, place)) for place, each in zip(places, several, strict=True)]


def _given(value: Any, place: str) -> GivenOutcome:
    try:
        return msgspec.convert(value, GivenOutcome)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at `$")
        missing = _MISSING.search(sentence)
        field = missing[1] if missing else where.rstrip("`").lstrip(".")
        param = ".".join(part for part in (place, field) if part) or None
        known = _KNOWN.get(field, "")
        raise _wrong(f"{'`' + param + '`: ' if param else ''}{sentence}.{known}", param) from None


def _outcome(given: GivenOutcome, place: str) -> InferredOutcome | CodeOutcome:
    prefix = f"{place}." if place else ""
    if not given.trace_id:
        raise _wrong(f"`{prefix}trace_id` is empty.", f"{prefix}trace_id")
    if (given.outcome is None) == (given.code_outcome is None):
        raise _wrong(f"`{prefix}outcome` or `{prefix}code_outcome` is needed, not both.", f"{prefix}outcome")
    if given.code_outcome is not None:
        return given.code_outcome
    if given.outcome is InferredKind.INCONCLUSIVE:
        return InferredOutcome.inconclusive()
    confidence = 1.0 if given.confidence is None else given.confidence
    if not 0.0 <= confidence <= 1.0:
        raise _wrong(f"`{prefix}confidence` must be from 0 to 1.", f"{prefix}confidence")
    assert given.outcome is not None  # noqa: S101 - the two checks above leave nothing else
    return InferredOutcome(given.outcome, confidence)


def _wrong(message: str, param: str | None) -> ApiError:
    return ApiError(400, "invalid_request_error", message, "invalid_request_error", param=param)
