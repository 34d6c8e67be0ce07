"""What each signal is worth. The numbers are those of `make eval-signals`; see docs/signals.md.

The target is adoption: did the person copy something from the answer? A signal is weighted only where the
90 % interval of its lift excludes 1, and only where it removes enough of the doubt (`MIN_RELIABILITY`).
"""

from msgspec import Struct

from nexus.outcomes.signals.kinds import FollowUp

MIN_RELIABILITY = 0.2
"""Verdicts that remove less of the doubt than this are not given."""
TOOL_CONFIDENCE = 0.7
TOOL_RELIABILITY = 0.2
"""Tool results are weighed by assumption: no labelled data was at hand to measure them with."""
QUICK, TOOL_RESULT = "quick_follow_up", "tool_result"
"""Names of signals that are no kind of follow-up."""
FOLLOWED_UP = "followed_up"
"""What receipts say of an answer that was followed up without a weighted signal, and never judged."""
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


_NOTHING = Evidence()


class Rates(Struct, frozen=True, gc=False):
    """P(adopted) of answers with each signal, of all followed up (`base`), of those without any (`quiet`).

    In (0, 1).
    """

    base: float
    repeated: float
    quick: float
    failed: float
    quiet: float

    def adopted(self, evidence: Evidence) -> float:
        """P(adopted). Of several signals the first of failed, quick, repeated decides."""
        if evidence.failed:
            return self.failed
        if evidence.quick:
            return self.quick
        return self.repeated if evidence.repeated else self.quiet


SHIPPED = Rates(base=0.385, repeated=0.285, quick=0.216, failed=0.577, quiet=0.413)


class Verdict(Struct, frozen=True, gc=False):
    """What a follow-up says of the answer. `confidence` and `reliability` are in [0, 1].

    `confidence` is the calibrated probability that the verdict is right. `reliability` is the part of the
    doubt that it removes, 1 for certainty: (p - b) / (1 - b) for an adopted answer, (b - p) / b for one that
    was not, with p = P(adopted) and b the base rate (the certainty factor of Shortliffe and Buchanan, 1975).
    """

    accepted: bool
    confidence: float
    reliability: float


def judge(evidence: Evidence, rates: Rates = SHIPPED) -> Verdict | None:
    """The verdict on an answer, None where the evidence says too little. No evidence: always None."""
    if evidence == _NOTHING:
        return None
    chance, base = rates.adopted(evidence), rates.base
    removed = reliability(chance, base)
    if removed < MIN_RELIABILITY:
        return None
    accepted = chance > base
    return Verdict(accepted, chance if accepted else 1 - chance, removed)


def reliability(rate: float, base: float) -> float:
    """The part of the doubt that a signal removes: 0 at the base rate, 1 at certainty, either way."""
    return (rate - base) / (1 - base) if rate > base else (base - rate) / base


def reliability_of(signal: str) -> float | None:
    """The reliability of a signal by its name, as receipts hold it; None for every signal not read here.

    With it, receipts can be replayed with the weights that they had.
    """
    if signal == TOOL_RESULT:
        return TOOL_RELIABILITY
    if signal == FOLLOWED_UP:
        return reliability(SHIPPED.quiet, SHIPPED.base)
    names = signal.split("+")
    repeated = FollowUp.ASKED_AGAIN in names or FollowUp.REGENERATED in names
    verdict = judge(Evidence(repeated, QUICK in names, FollowUp.ERROR_REPORT in names))
    return verdict.reliability if verdict is not None else None
