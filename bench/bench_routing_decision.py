"""How long a routing decision takes by fleet size, p50 and p95 in microseconds, and learning from an attempt.

Run: python bench/bench_routing_decision.py
"""

import gc
import random
import time

from nexus.config.model import BreakerSettings, BudgetConfig, QualitySettings, RoutingConfig, RoutingPolicy
from nexus.core.backend import Backend, BackendType, ModelInfo, Zone
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot, Price
from nexus.core.learned import ModelLearned, PairLearned
from nexus.core.live import BackendLive, SpendMeter
from nexus.core.outcome import AttemptOutcome, AttemptResult
from nexus.core.quality import AgentQualityMetrics, QualityView
from nexus.core.request import Constraints, Needs, Request, Surface
from nexus.quality.learner import AttemptLearner
from nexus.resilience.breaker import CircuitBreaker
from nexus.routing.pipeline import Router

MODEL = "m"
ROUNDS = 3000


class Sums:
    """The cheapest observer there is."""

    def __init__(self) -> None:
        self.seconds = [0.0] * 6

    def observe(self, stage: int, seconds: float) -> None:
        self.seconds[stage] += seconds


def fleet(
    size: int, rng: random.Random, *, bad_share: float = 0.0, cloud_share: float = 0.0
) -> FleetSnapshot:
    views = []
    shared = ModelLearned(ExpectedTimeSettings())
    shared.streamed.base, shared.streamed.slope = 0.2, 0.0006
    for number in range(size):
        live = BackendLive()
        live.pending = rng.randrange(6)
        live.latency_ms = rng.uniform(50, 5000)
        live.breaker = CircuitBreaker()
        cloud = number < size * cloud_share
        rate = 0.7 if number >= size * (1 - bad_share) else rng.uniform(0, 0.05)
        figures = AgentQualityMetrics(rate, rng.randrange(100, 2500), 1 - rate, None, 500)
        backend = Backend(
            id=f"b{number}",
            name=f"B{number}",
            url=f"http://127.0.0.1:{9000 + number}",
            type=BackendType.OPENAI if cloud else BackendType.VLLM,
            zone=Zone.OPEN if cloud else Zone.RESTRICTED,
        )
        quality = QualityView(figures, rate, 500)
        live.learned[MODEL] = learned(shared, rng)
        prices = {MODEL: Price(1.0, 2.0)} if cloud else {}
        models = {MODEL: ModelInfo(MODEL, context_length=32768, vision=False, tools=True)}
        status = BackendStatus.HEALTHY
        views.append(BackendView(backend, status, models, live, quality, {MODEL: quality}, prices))
    spend = SpendMeter()
    spend.month_usd = 10.0
    return FleetSnapshot(1, tuple(views), {MODEL: tuple(views)}, spend)


def learned(shared: ModelLearned, rng: random.Random) -> PairLearned:
    """What some traffic has taught; one in three has failed lately."""
    pair = PairLearned(shared, rng.uniform(6, 30), 0.5)
    pair.slowness, pair.limited = rng.uniform(0.6, 2.0), True
    pair.successes, pair.failures = rng.uniform(10, 100), rng.choice((0.0, 0.0, 1.0))
    return pair


def request(*, restricted: bool = False) -> Request:
    needs = Needs(stream=True, input_tokens=300, max_output_tokens=200)
    constraints = Constraints(restricted=restricted)
    return Request("t", Surface.CHAT, MODEL, needs, 0.0, constraints)


def stir(snapshot: FleetSnapshot, rng: random.Random) -> None:
    """What traffic does between two decisions: one attempt starts, another ends."""
    started, ended = rng.choice(snapshot.backends).live, rng.choice(snapshot.backends).live
    started.pending = (started.pending + 1) % 12
    ended.pending = max(0, ended.pending - 1)
    ended.latency_ms *= rng.uniform(0.8, 1.25)


def measure(router: Router, snapshot: FleetSnapshot, asked: Request) -> tuple[float, float]:
    rng = random.Random(1)
    times = []
    for _ in range(ROUNDS):
        stir(snapshot, rng)
        before = time.perf_counter()
        router.decide(asked, snapshot, 1.0)
        times.append(time.perf_counter() - before)
    times.sort()
    return times[len(times) // 2] * 1e6, times[len(times) * 95 // 100] * 1e6


def plain_decisions(size: int) -> float:
    """The 95th percentile of a decision over so many backends, every stage measured, in microseconds."""
    rng = random.Random(size)
    router = Router(RoutingConfig(), QualitySettings(), BreakerSettings(), rng=rng, stage_observer=Sums())
    return measure(router, fleet(size, rng), request())[1]


def measure_learning() -> float:
    """Mean microseconds that one streamed attempt costs: start, first token and end."""
    learner = AttemptLearner(ExpectedTimeSettings())
    live = BackendLive()
    outcome = AttemptOutcome("t", "b0", MODEL, AttemptResult.SUCCESS, 0.0, 500.0, ttft_ms=200.0, stream=True)
    before = time.perf_counter()
    for number in range(ROUNDS):
        now = number * 0.01
        flight = learner.started(live, MODEL, 300, stream=True, now=now)
        learner.first_token(flight, now + 0.2)
        learner.finished(flight, outcome)
    return (time.perf_counter() - before) / ROUNDS * 1e6


def main() -> None:
    plain, smart = RoutingConfig(), RoutingConfig(strategy="smart")
    policies = (RoutingPolicy(model_pattern="*", privacy="restricted", min_tier=1),)
    strict = RoutingConfig(policies=policies, budget=BudgetConfig(monthly_limit_usd=12.0))
    quality, breaker = QualitySettings(), BreakerSettings()
    print(f"{'case':34}{'backends':>9}{'p50 µs':>9}{'p95 µs':>9}")
    for size in (8, 25, 100):
        rng = random.Random(size)
        cases = (
            ("plain", Router(plain, quality, breaker, rng=rng), fleet(size, rng)),
            ("smart", Router(smart, quality, breaker, rng=rng), fleet(size, rng)),
            (
                "plain, stages measured",
                Router(plain, quality, breaker, rng=rng, stage_observer=Sums()),
                fleet(size, rng),
            ),
            (
                "a quarter over the threshold",
                Router(plain, quality, breaker, rng=rng),
                fleet(size, rng, bad_share=0.25),
            ),
            (
                "policy, budget, a third cloud",
                Router(strict, quality, breaker, rng=rng),
                fleet(size, rng, cloud_share=0.34),
            ),
        )
        for name, router, snapshot in cases:
            gc.collect()
            median, high = measure(router, snapshot, request())
            print(f"{name:34}{size:>9}{median:>9.1f}{high:>9.1f}")
    print(f"learning from one attempt: {measure_learning():.1f} µs")


if __name__ == "__main__":
    main()
