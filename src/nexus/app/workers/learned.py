"""What `expected_time` has learned, for a worker that begins: it need not find out again who is slow."""

from collections.abc import Iterable

from msgspec import Struct

from nexus.core.fleet import BackendView
from nexus.core.learned import LINE_NUMBERS, MODEL_NUMBERS, PAIR_NUMBERS
from nexus.quality.learner import AttemptLearner

Number = bool | int | float | None

_LINES = ("streamed", "whole", "generated")


class LearnedPair(Struct, frozen=True, array_like=True, gc=False):
    """One model on one backend, and what all its backends share; numbers in the order of their names.

    Which attempts wait, and how the records hang together, is each worker's own.
    """

    backend: str
    model: str
    pair: tuple[Number, ...]
    shared: tuple[Number, ...]
    lines: tuple[tuple[float, ...], ...]


def tell_learned(views: Iterable[BackendView]) -> list[LearnedPair]:
    """All that was learned."""
    return [
        LearnedPair(
            view.backend.id,
            model,
            tuple(getattr(pair, name) for name in PAIR_NUMBERS),
            tuple(getattr(pair.model, name) for name in MODEL_NUMBERS),
            tuple(
                tuple(getattr(getattr(pair.model, line), name) for name in LINE_NUMBERS) for line in _LINES
            ),
        )
        for view in views
        for model, pair in view.live.learned.items()
    ]


def take_learned(
    learner: AttemptLearner, views: Iterable[BackendView], learned: Iterable[LearnedPair], now: float
) -> None:
    """Begin with what another worker has learned; backends that are not here are ignored."""
    lives = {view.backend.id: view.live for view in views}
    for each in learned:
        live = lives.get(each.backend)
        if live is None:
            continue
        learner.hear(live, each.model, now, successes=0, failures=0)  # meets the pair
        pair = live.learned[each.model]
        for name, value in zip(PAIR_NUMBERS, each.pair, strict=True):
            setattr(pair, name, value)
        for name, value in zip(MODEL_NUMBERS, each.shared, strict=True):
            setattr(pair.model, name, value)
        for line, values in zip(_LINES, each.lines, strict=True):
            for name, value in zip(LINE_NUMBERS, values, strict=True):
                setattr(getattr(pair.model, line), name, value)
