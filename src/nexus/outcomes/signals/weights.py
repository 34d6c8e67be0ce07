"""What each signal is worth. The numbers are those of `make eval-signals`; see docs/signals.md.

The target is adoption: did the person copy something from the answer? P(adopted) is a logistic function of
the signals that were seen. A signal is weighted only where the 90 % interval of its lift excludes 1, among
all answers and among those with code, and only where it removes enough of the doubt (`MIN_RELIABILITY`).
"""

import math

from msgspec import Struct

MIN_RELIABILITY = 0.2
"""Verdicts that remove less of the doubt than this are not given."""
TOOL_CONFIDENCE = 0.7
TOOL_RELIABILITY = 0.2
"""Tool results are weighed by assumption: no labelled data was at hand to measure them with."""
QUICK_SECONDS = (5.0, 40.0)
"""A follow-up in this span came before the code can have been put to use. Sooner than that, nobody has read
the answer (the client is a program), and the measurement does not hold."""


class Evidence(Struct, frozen=True, gc=False):
    """The weighted signals that a follow-up gave.

    `repeated`: the question came again (asked again, or the answer dropped and asked anew). `quick`: the
    follow-up to an answer with code came within `QUICK_SECONDS`. `failed`: it reports an error.
    """

    repeated: bool = False
    quick: bool = False
    failed: bool = False


class Weights(Struct, frozen=True, gc=False):
    """A logistic function's weights. `base_rate` is P(adopted) over all answers that were followed up."""

    base_rate: float
    intercept: float
    repeated: float
    quick: float
    failed: float

    def adopted(self, evidence: Evidence) -> float:
        """P(adopted) in (0, 1)."""
        score = self.intercept
        score += (
            self.repeated * evidence.repeated + self.quick * evidence.quick + self.failed * evidence.failed
        )
        return 1.0 / (1.0 + math.exp(-score))


SHIPPED = Weights(base_rate=0.385, intercept=-0.30, repeated=-0.56, quick=-0.97, failed=0.92)


class Verdict(Struct, frozen=True, gc=False):
    """What a follow-up says of the answer. `confidence` and `reliability` are in [0, 1].

    `confidence` is the calibrated probability that the verdict is right. `reliability` is the part of the
    doubt that it removes, 1 for certainty: (p - b) / (1 - b) for an adopted answer, (b - p) / b for one that
    was not, with p = P(adopted) and b the base rate (the certainty factor of Shortliffe and Buchanan, 1975).
    """

    accepted: bool
    confidence: float
    reliability: float


def judge(evidence: Evidence, weights: Weights = SHIPPED) -> Verdict | None:
    """The verdict on an answer, None where the evidence says too little. No evidence: always None."""
    if not (evidence.repeated or evidence.quick or evidence.failed):
        return None
    probability, base = weights.adopted(evidence), weights.base_rate
    accepted = probability > base
    removed = (probability - base) / (1 - base) if accepted else (base - probability) / base
    if removed < MIN_RELIABILITY:
        return None
    return Verdict(accepted, probability if accepted else 1 - probability, removed)
