"""A learner with backends and a time of its own, for the tests of what attempts teach."""

from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.flight import Flight
from nexus.core.learned import PairLearned
from nexus.core.live import BackendLive
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.quality.learner import AttemptLearner

DEFAULTS = ExpectedTimeSettings()


class Bench:
    """A learner with named backends and a time of its own."""

    def __init__(self, settings: ExpectedTimeSettings = DEFAULTS) -> None:
        self.settings = settings
        self.learner = AttemptLearner(settings)
        self.lives: dict[str, BackendLive] = {}
        self.now = 100.0

    def live(self, name: str = "a") -> BackendLive:
        return self.lives.setdefault(name, BackendLive())

    def pair(self, name: str = "a", model: str = "m") -> PairLearned:
        return self.live(name).learned[model]

    def start(
        self, name: str = "a", *, tokens: int = 100, stream: bool = True, model: str = "m", pending: int = 0
    ) -> Flight:
        live = self.live(name)
        live.pending = pending
        return self.learner.started(live, model, tokens, stream=stream, now=self.now)

    def end(
        self,
        flight: Flight,
        result: AttemptResult = AttemptResult.SUCCESS,
        *,
        first_byte_ms: float | None = None,
        ttft_ms: float | None = None,
        status: int = 200,
        output_tokens: int = 0,
    ) -> None:
        kind = FailureKind.SERVER_ERROR if result is AttemptResult.FAILURE else None
        outcome = AttemptOutcome(
            "t",
            "a",
            "m",
            result,
            self.now,
            1.0,
            kind,
            status,
            first_byte_ms=first_byte_ms,
            ttft_ms=ttft_ms,
            stream=flight.stream,
            output_tokens=output_tokens,
        )
        self.learner.finished(flight, outcome)

    def answer(self, name: str = "a", seconds: float = 0.5, *, tokens: int = 100, pending: int = 0) -> None:
        """A whole streamed attempt that ends a tenth of a second after its first token."""
        flight = self.start(name, tokens=tokens, pending=pending)
        self.now += seconds
        self.learner.first_token(flight, self.now)
        self.now += 0.1
        self.end(flight)


def settle(bench: Bench, *, slow: float = 1.0) -> None:
    """Three backends with some history; "c" is `slow` times as slow as the others."""
    for _ in range(60):
        bench.answer("a", 0.5)
        bench.answer("b", 0.5)
        bench.answer("c", 0.5 * slow)
