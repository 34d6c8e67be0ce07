"""What a receipt teaches the chooser."""

from msgspec import Struct

from nexus.core.receipt import LedgerEntry
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.signals.weights import FOLLOWED_UP, reliability_of

# Judgements of somebody who knows: what a client says, what a repository shows, and a call that failed.
OUTRIGHT = frozenset({"explicit", "git", "failure"})
# The least reliability with which a signal is inferred at all; taken for signals that are not measured here.
INFERRED_WEIGHT = 0.2


class Evidence(Struct, frozen=True):
    """What a receipt says; the fields are the arguments of `AdaptiveChooser.observe`."""

    quality: float | None
    success: bool | None
    weight: float
    cost_usd: float | None
    seconds: float | None


def evidence_of(entry: LedgerEntry) -> Evidence:
    """What a receipt says of its model.

    Outright signals count with their quality and in full. Of an inferred one the direction counts, 1 or 0,
    with its reliability as the weight: its doubt is in the weight, and would count twice in the quality. A
    failed call is an answer of quality 0; a rate limit says nothing of quality, and an answer that nobody
    judged only what it cost and how long it took. One that was followed up without a complaint counts a
    little for its model: else only complaints would count, and most against the model that answers most.
    Figures that make no sense are left out.
    """
    outright = entry.signal is None or entry.signal in OUTRIGHT
    quality = entry.quality if entry.quality is not None and 0.0 <= entry.quality <= 1.0 else None
    if entry.signal == FOLLOWED_UP:
        quality = 1.0
    if quality is not None and not outright and entry.success is not None:
        quality = float(entry.success)
    weight = 1.0 if outright else _reliability(entry.signal or "")
    success = None if entry.signal == "rate_limit" else entry.success
    failed = success is not True and quality is None and entry.error is not None
    cost = entry.cost_usd if entry.cost_usd is not None and 0.0 <= entry.cost_usd < float("inf") else None
    # How quickly a call failed is no sign of speed.
    timed = not failed and 0.0 < entry.latency_ms < float("inf")
    return Evidence(
        quality=quality,
        success=success,
        weight=weight,
        cost_usd=cost,
        seconds=entry.latency_ms / 1000.0 if timed else None,
    )


def _reliability(signal: str) -> float:
    measured = reliability_of(signal)
    return INFERRED_WEIGHT if measured is None else measured


def learn_from(chooser: AdaptiveChooser, entry: LedgerEntry) -> None:
    """Tell a chooser what became of one call."""
    found = evidence_of(entry)
    chooser.observe(
        entry.model_id,
        entry.task,
        quality=found.quality,
        success=found.success,
        weight=found.weight,
        cost_usd=found.cost_usd,
        seconds=found.seconds,
    )
