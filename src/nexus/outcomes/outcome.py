"""What became of an answer: the judgements that signals bring, and what each of them is worth."""

import math
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

GIT_SIGNAL = "git"
"""The name of what a repository shows, as it stands in receipts."""
_EDITED = 0.7
_REJECTED = 0.3


class InferredKind(StrEnum):
    """How an answer was taken."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_EDITS = "accepted_with_edits"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"


class InferredOutcome(Struct, frozen=True, gc=False):
    """How an answer was taken, and how sure that is.

    Made by the four class methods. `confidence` is in [0, 1].
    """

    kind: InferredKind
    confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be a number from 0 to 1, got {self.confidence}")

    @classmethod
    def accepted(cls, confidence: float) -> "InferredOutcome":
        """The answer was used as it was. ValueError unless `confidence` is in [0, 1]; NaN is refused too."""
        return cls(InferredKind.ACCEPTED, confidence)

    @classmethod
    def accepted_with_edits(cls, confidence: float) -> "InferredOutcome":
        """The answer was used after changes. Raises as `accepted` does."""
        return cls(InferredKind.ACCEPTED_WITH_EDITS, confidence)

    @classmethod
    def rejected(cls, confidence: float) -> "InferredOutcome":
        """The answer was not used. Raises as `accepted` does."""
        return cls(InferredKind.REJECTED, confidence)

    @classmethod
    def inconclusive(cls) -> "InferredOutcome":
        """Nobody can tell."""
        return cls(InferredKind.INCONCLUSIVE)

    @property
    def quality(self) -> float | None:
        """In [0, 1]: c for accepted, 0.7c for edited, 0.3(1-c) for rejected, None for inconclusive."""
        if self.kind is InferredKind.ACCEPTED:
            return self.confidence
        if self.kind is InferredKind.ACCEPTED_WITH_EDITS:
            return _EDITED * self.confidence
        if self.kind is InferredKind.REJECTED:
            return _REJECTED * (1.0 - self.confidence)
        return None

    @property
    def success(self) -> bool | None:
        """Whether the answer was of use; None where nobody can tell."""
        if self.kind is InferredKind.INCONCLUSIVE:
            return None
        return self.kind is not InferredKind.REJECTED


class CodeOutcome(StrEnum):
    """What became of suggested code in a repository."""

    APPLIED = "applied"
    SIGNATURE_CHANGED = "signature_changed"
    BODY_MODIFIED = "body_modified"
    SYMBOL_ADDED = "symbol_added"
    MODIFIED = "modified"
    IGNORED = "ignored"

    @property
    def quality(self) -> float:
        """What the verdict is worth, in [0, 1]."""
        return _CODE_QUALITY[self]

    @property
    def success(self) -> bool:
        """Whether the suggestion was of use: all but an ignored one were."""
        return self is not CodeOutcome.IGNORED


_CODE_QUALITY = {
    CodeOutcome.APPLIED: 1.0,
    CodeOutcome.SIGNATURE_CHANGED: 0.8,
    CodeOutcome.BODY_MODIFIED: 0.7,
    CodeOutcome.SYMBOL_ADDED: 0.7,
    CodeOutcome.MODIFIED: 0.6,
    CodeOutcome.IGNORED: 0.1,
}


class SignalResult(Struct, frozen=True, gc=False):
    """Whether a signal was taken; `reason` says why not, or what it waits for."""

    applied: bool
    reason: str | None = None


class Resolution(Struct, frozen=True, gc=False):
    """How a call was resolved. None: nobody knows. `signal` names what resolved it."""

    signal: str
    success: bool | None = None
    quality: float | None = None
    error: str | None = None


Action = tuple[str, bool, float, str | bool | None]
"""One step of an agent: trace id, whether it succeeded, confidence, and its output (or if it had any)."""


def infer_from_actions(actions: Iterable[Action]) -> list[tuple[str, InferredOutcome]]:
    """What a sequence of steps says of the calls behind them, in order; steps without a trace id say nothing.

    A step that failed was rejected. One with output was accepted if the next step succeeded (or there is
    none), and accepted with edits, at 0.7 of the confidence, if the next one failed. One without output is
    inconclusive. Outputs are looked at and not kept.

    Raises:
        ValueError: a confidence is outside [0, 1].
    """
    steps = list(actions)
    found = []
    for index, (trace_id, succeeded, confidence, output) in enumerate(steps):
        if not trace_id.strip():
            continue
        next_succeeded = steps[index + 1][1] if index + 1 < len(steps) else True
        found.append((trace_id, _infer(succeeded, confidence, output, next_succeeded=next_succeeded)))
    return found


def _infer(
    succeeded: bool, confidence: float, output: str | bool | None, *, next_succeeded: bool
) -> InferredOutcome:
    if not succeeded:
        return InferredOutcome.rejected(confidence)
    if not (output.strip() if isinstance(output, str) else output):
        return InferredOutcome.inconclusive()
    if next_succeeded:
        return InferredOutcome.accepted(confidence)
    return InferredOutcome.accepted_with_edits(_EDITED * confidence)


def finite(value: float) -> bool:
    """Whether a measured number can be added to others: neither NaN nor infinite nor negative."""
    return 0.0 <= value < math.inf
