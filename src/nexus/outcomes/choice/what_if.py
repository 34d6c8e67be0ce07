"""What another way of choosing would have earned, estimated from the receipts of the one that was used.

Inverse propensity scoring (Horvitz and Thompson 1952) and its self-normalised form (Hájek): an answer that
was chosen with probability p and that the other policy would have chosen with probability q counts q/p times.
"""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from nexus.core.receipt import LedgerEntry

_Z95 = 1.959964
_CERTAIN = 1.0 - 1e-9


class TargetPolicy(Protocol):
    """A way to choose a model, to be judged."""

    def probability(self, entry: LedgerEntry, candidates: tuple[str, ...]) -> float | None:
        """With which probability it would have chosen `entry.model_id` among `candidates`.

        None: it can't choose among these, so the receipt says nothing about it.
        """
        ...

    def learn(self, entry: LedgerEntry) -> None:
        """Look at a receipt after it was judged. Called for every receipt, in their order."""
        ...


class Estimate(Struct, frozen=True):
    """A mean with the bounds of its 95 % confidence interval; None where there was nothing to average."""

    mean: float | None
    low: float | None
    high: float | None


class WhatIf(Struct, frozen=True):
    """The answer, and how far to trust it.

    `receipts` were read; `used` had a propensity, a choice and the measured value. Of the others,
    `not_random` had a choice but left nothing to chance (a conversation that kept its model), and the policy
    can't choose among the candidates of the `not_offered` ones. `effective` is the number of receipts chosen
    by the policy itself that would tell as much, (Σw)²/Σw². `mean_weight` is near 1 where the receipts cover
    the policy. `logged` is the mean of what was really earned on the receipts used.
    """

    receipts: int
    used: int
    not_random: int
    not_offered: int
    effective: float
    mean_weight: float
    logged: Estimate
    inverse_propensity: Estimate
    self_normalised: Estimate


class _Sums:
    """Weighted sums of one pass."""

    def __init__(self) -> None:
        self.pairs: list[tuple[float, float]] = []
        self.receipts = 0
        self.not_random = 0
        self.not_offered = 0


def what_if(
    entries: Iterable[LedgerEntry],
    policy: TargetPolicy,
    value: Callable[[LedgerEntry], float | None],
) -> WhatIf:
    """Estimate the mean of `value` had `policy` chosen the models.

    `entries` come in the order in which they were written. A receipt counts if `value` knows it and its
    choice was left to chance: it has a propensity and candidates, and either was not certain or was the only
    candidate. Both estimates are right in the mean as long as every model the policy may choose had a chance;
    the self-normalised one is a little biased for few receipts, and steadier. Whether a receipt has a value
    must not depend on the model.
    """
    sums = _Sums()
    for entry in entries:
        sums.receipts += 1
        _judge(sums, entry, policy, value(entry))
        policy.learn(entry)
    return _result(sums)


def _judge(sums: _Sums, entry: LedgerEntry, policy: TargetPolicy, earned: float | None) -> None:
    propensity, candidates = entry.propensity, entry.candidates
    if earned is None or not propensity or not candidates or entry.model_id not in candidates:
        return
    if propensity > _CERTAIN and len(candidates) > 1:
        sums.not_random += 1
        return
    chance = policy.probability(entry, candidates)
    if chance is None:
        sums.not_offered += 1
        return
    sums.pairs.append((chance / propensity, earned))


def _result(sums: _Sums) -> WhatIf:
    pairs = sums.pairs
    total = sum(weight for weight, _ in pairs)
    squares = sum(weight * weight for weight, _ in pairs)
    return WhatIf(
        receipts=sums.receipts,
        used=len(pairs),
        not_random=sums.not_random,
        not_offered=sums.not_offered,
        effective=total * total / squares if squares else 0.0,
        mean_weight=total / len(pairs) if pairs else 0.0,
        logged=mean_of([earned for _, earned in pairs]),
        inverse_propensity=mean_of([weight * earned for weight, earned in pairs]),
        self_normalised=_ratio(pairs, total),
    )


def mean_of(values: list[float]) -> Estimate:
    """The mean, with the interval of the normal approximation; no interval for fewer than two values."""
    count = len(values)
    if not count:
        return Estimate(None, None, None)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, None)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return _around(mean, math.sqrt(variance / count))


def _ratio(pairs: list[tuple[float, float]], total: float) -> Estimate:
    """Σwr / Σw; its error by the delta method, √(Σw²(r - mean)²) / Σw."""
    if not total:
        return Estimate(None, None, None)
    mean = math.fsum(weight * earned for weight, earned in pairs) / total
    if len(pairs) == 1:
        return Estimate(mean, None, None)
    squares = math.fsum((weight * (earned - mean)) ** 2 for weight, earned in pairs)
    return _around(mean, math.sqrt(squares) / total)


def _around(mean: float, error: float) -> Estimate:
    return Estimate(mean, mean - _Z95 * error, mean + _Z95 * error)
