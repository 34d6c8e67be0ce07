"""The baselines: what other routers do, written down from their documentation, and an oracle."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from random import Random

from bench.routing_sim.baseline import THROTTLED, Policy, PolicyMaker
from bench.routing_sim.engine import Engine
from bench.routing_sim.servers import SimBackend
from bench.routing_sim.trace import Arrival


class LiteLLMShuffle(Policy):
    """LiteLLM's default: a random deployment that is not cooling down.

    A deployment cools down for 5 s after a 429, or when over half of at least 5 requests of the running
    minute have failed. While all of them cool down, requests are refused.
    """

    COOLDOWN_SECONDS = 5.0
    FAILURE_SHARE = 0.5
    LEAST_REQUESTS = 5

    def __init__(
        self, engine: Engine, backends: Sequence[SimBackend], members: Sequence[int], rng: Random
    ) -> None:
        super().__init__(engine, backends, members, rng)
        self._cool_until = [0.0] * len(backends)
        self._minute = [0] * len(backends)
        self._failed = [0] * len(backends)
        self._answered = [0] * len(backends)

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:  # noqa: ARG002 - it ignores the request
        now = self.engine.now
        options = [index for index in self.untried(tried) if self._cool_until[index] <= now]
        return self.rng.choice(options) if options else None

    def succeeded(self, index: int) -> None:
        self._turn(index)
        self._answered[index] += 1

    def failed(self, index: int, seconds: float, status: int) -> None:  # noqa: ARG002 - any time will do
        self._turn(index)
        self._failed[index] += 1
        count = self._failed[index] + self._answered[index]
        too_many = count >= self.LEAST_REQUESTS and self._failed[index] > self.FAILURE_SHARE * count
        if status == THROTTLED or too_many:
            self._cool_until[index] = self.engine.now + self.COOLDOWN_SECONDS

    def _turn(self, index: int) -> None:
        minute = int(self.engine.now // 60)
        if self._minute[index] != minute:
            self._minute[index] = minute
            self._failed[index] = self._answered[index] = 0


class EnvoyOutlier(Policy):
    """Envoy: least request (two choices) with outlier detection.

    Five failures in a row eject a host, and every 10 s so does a success rate 1.9 standard deviations below
    the mean (with 5 hosts of 30 requests each in that time). An ejection lasts 30 s times the number of
    ejections so far, at most 300 s; that number falls by one in each interval without an ejection. At most
    half of the hosts are out. With fewer than half left, all are used (panic). Envoy's own defaults would
    eject a tenth of the hosts and ask for 100 requests; these values suit a small fleet better.
    """

    CONSECUTIVE = 5
    INTERVAL = 10.0
    BASE_SECONDS = 30.0
    MOST_SECONDS = 300.0
    MOST_EJECTED = 0.5
    HOSTS = 5
    VOLUME = 30
    DEVIATIONS = 1.9

    def __init__(
        self, engine: Engine, backends: Sequence[SimBackend], members: Sequence[int], rng: Random
    ) -> None:
        super().__init__(engine, backends, members, rng)
        size = len(backends)
        self._streak = [0] * size
        self._ejected_until = [0.0] * size
        self._out = [False] * size
        self._times = [0] * size
        self._answered = [0] * size
        self._failed = [0] * size
        engine.after(self.INTERVAL, self._sweep)

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:  # noqa: ARG002 - it ignores the request
        healthy = [index for index in self.members if not self._out[index]]
        if len(healthy) * 2 < len(self.members):
            healthy = self.members
        options = [index for index in healthy if index not in tried]
        return self.fewer_pending(options) if options else None

    def succeeded(self, index: int) -> None:
        self._streak[index] = 0
        self._answered[index] += 1

    def failed(self, index: int, seconds: float, status: int) -> None:  # noqa: ARG002 - any time will do
        if status == THROTTLED:  # no 5xx
            self._streak[index] = 0
            self._answered[index] += 1
            return
        self._failed[index] += 1
        self._streak[index] += 1
        if self._streak[index] >= self.CONSECUTIVE:
            self._eject(index)

    def _eject(self, index: int) -> None:
        if self._out[index] or (sum(self._out) + 1) > self.MOST_EJECTED * len(self.members):
            return
        self._times[index] += 1
        self._streak[index] = 0
        self._out[index] = True
        seconds = min(self.MOST_SECONDS, self.BASE_SECONDS * self._times[index])
        self._ejected_until[index] = self.engine.now + seconds

    def _sweep(self, _: object) -> None:
        """Once per interval: let hosts back in, and look at the success rates."""
        now = self.engine.now
        for index in self.members:
            if self._out[index]:
                self._out[index] = self._ejected_until[index] > now
            elif self._times[index]:
                self._times[index] -= 1
        self._judge_rates()
        self._answered = [0] * len(self.backends)
        self._failed = [0] * len(self.backends)
        self.engine.after(self.INTERVAL, self._sweep)

    def _judge_rates(self) -> None:
        rates = {}
        for index in self.members:
            count = self._answered[index] + self._failed[index]
            if not self._out[index] and count >= self.VOLUME:
                rates[index] = self._answered[index] / count
        if len(rates) < self.HOSTS:
            return
        mean = sum(rates.values()) / len(rates)
        deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates.values()) / len(rates))
        for index, rate in rates.items():
            if rate < mean - self.DEVIATIONS * deviation:
                self._eject(index)


class PeakEwma(Policy):
    """Finagle: peak EWMA over two choices, with failure accrual.

    The cost of a backend is its smoothed time (10 s; a slower answer counts at once) times the attempts in
    flight. Five failures in a row mark it dead for 5 s, doubling up to 300 s; then one request tests it.
    Where all are dead, all are used. The time is that to the first token, and for a failure until it failed.
    """

    DECAY = 10.0
    CONSECUTIVE = 5
    FIRST_SECONDS = 5.0
    MOST_SECONDS = 300.0
    UNKNOWN = 1e6

    def __init__(
        self, engine: Engine, backends: Sequence[SimBackend], members: Sequence[int], rng: Random
    ) -> None:
        super().__init__(engine, backends, members, rng)
        size = len(backends)
        self._cost = [0.0] * size
        self._stamp = [0.0] * size
        self._streak = [0] * size
        self._dead_until = [0.0] * size
        self._backoff = [0.0] * size
        self._probing = [False] * size

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:  # noqa: ARG002 - it ignores the request
        now = self.engine.now
        untried = self.untried(tried)
        alive = [index for index in untried if self._dead_until[index] <= now and not self._probing[index]]
        options = alive or untried
        if not options:
            return None
        two = self.rng.sample(options, 2) if len(options) > 1 else options
        chosen = min(two, key=self._load)
        if self._backoff[chosen] and self._dead_until[chosen] <= now:
            self._probing[chosen] = True
        return chosen

    def first_token(self, index: int, seconds: float) -> None:
        self._observe(index, seconds)

    def succeeded(self, index: int) -> None:
        self._streak[index] = 0
        self._backoff[index] = self._dead_until[index] = 0.0
        self._probing[index] = False

    def failed(self, index: int, seconds: float, status: int) -> None:  # noqa: ARG002 - any status will do
        self._observe(index, seconds)
        if self._dead_until[index] > self.engine.now:
            return  # dead already: it was used because nobody else was left, or it is a straggler
        self._streak[index] += 1
        if self._probing[index] or self._streak[index] >= self.CONSECUTIVE:
            doubled = min(self.MOST_SECONDS, self._backoff[index] * 2)
            self._backoff[index] = doubled or self.FIRST_SECONDS
            self._dead_until[index] = self.engine.now + self._backoff[index] * (0.5 + self.rng.random() / 2)
            self._probing[index] = False

    def _load(self, index: int) -> float:
        cost = self._decayed(index)
        if not cost and self.pending[index]:
            return self.UNKNOWN + self.pending[index]
        return cost * (self.pending[index] + 1)

    def _decayed(self, index: int) -> float:
        """The cost as of now: without answers it sinks towards zero, so that a slow one is tried again."""
        return self._cost[index] * math.exp((self._stamp[index] - self.engine.now) / self.DECAY)

    def _observe(self, index: int, seconds: float) -> None:
        now = self.engine.now
        weight = math.exp((self._stamp[index] - now) / self.DECAY)
        cost = self._cost[index]
        self._cost[index] = seconds if seconds > cost else cost * weight + seconds * (1.0 - weight)
        self._stamp[index] = now


class Prequal(Policy):
    """Prequal (Wydrowski and others, NSDI 2024): probes of random backends; few in flight, then fast.

    Three probes per request tell requests in flight (of everybody) and the median time to first token of the
    last 5 s. The pool holds 16 answers of at most 1 s. Of the answers below the 0.84-quantile of requests in
    flight the fastest is taken, else the one with the fewest. A dead or hanging backend answers no probe.
    Against sinkholes, a backend whose share of failures (10 s) is over 0.2 above that of the others counts as
    hot.
    """

    PROBES = 3
    POOL = 16
    AGE = 1.0
    HOT = 0.84
    DECAY = 10.0
    MARGIN = 0.2

    def __init__(
        self, engine: Engine, backends: Sequence[SimBackend], members: Sequence[int], rng: Random
    ) -> None:
        super().__init__(engine, backends, members, rng)
        self._pool: deque[tuple[float, int, int, float]] = deque(maxlen=self.POOL)
        self._seen: deque[int] = deque(maxlen=64)
        self._failures = [0.0] * len(backends)
        self._stamp = [0.0] * len(backends)

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:  # noqa: ARG002 - it ignores the request
        self._probe()
        now = self.engine.now
        while self._pool and self._pool[0][0] < now - self.AGE:
            self._pool.popleft()
        answers = {entry[1]: entry for entry in self._pool if entry[1] not in tried}
        if len(answers) < 2:
            options = self.untried(tried)
            return self.rng.choice(options) if options else None
        ordered = sorted(self._seen)
        threshold = ordered[min(len(ordered) - 1, int(self.HOT * len(ordered)))]
        suspects = self._suspects()
        cold = [each for each in answers.values() if each[2] <= threshold and each[1] not in suspects]
        if cold:
            chosen = min(cold, key=lambda entry: entry[3])
        else:
            chosen = min(answers.values(), key=lambda entry: (entry[1] in suspects, entry[2]))
        return self._use(chosen)

    def succeeded(self, index: int) -> None:
        self._count(index, 0.0)

    def failed(self, index: int, seconds: float, status: int) -> None:  # noqa: ARG002 - any failure will do
        self._count(index, 1.0)

    def _use(self, entry: tuple[float, int, int, float]) -> int:
        """Take an answer out of the pool; what is left of that backend has one more request in flight."""
        self._pool.remove(entry)
        index = entry[1]
        for position, other in enumerate(self._pool):
            if other[1] == index:
                self._pool[position] = (other[0], index, other[2] + 1, other[3])
        return index

    def _probe(self) -> None:
        for index in self.rng.sample(self.members, min(self.PROBES, len(self.members))):
            backend = self.backends[index]
            if backend.answers:
                in_flight = len(backend.jobs)
                self._pool.append((self.engine.now, index, in_flight, backend.recent_ttft()))
                self._seen.append(in_flight)

    def _count(self, index: int, failed: float) -> None:
        now = self.engine.now
        weight = 1.0 - math.exp((self._stamp[index] - now) / self.DECAY)
        self._failures[index] += max(weight, 0.05) * (failed - self._failures[index])
        self._stamp[index] = now

    def _suspects(self) -> set[int]:
        now = self.engine.now
        shares = {
            index: self._failures[index] * math.exp((self._stamp[index] - now) / self.DECAY)
            for index in self.members
        }
        total = sum(shares.values())
        others = max(1, len(shares) - 1)
        return {index for index, share in shares.items() if share > (total - share) / others + self.MARGIN}


class Oracle(Policy):
    """Greedy, and knows the truth: every queue, every speed and every error rate, but not the coin flips."""

    def choose(self, arrival: Arrival, tried: Sequence[int]) -> int | None:
        options = self.untried(tried)
        best, least = None, math.inf
        for index in options:
            backend = self.backends[index]
            share, seconds = backend.error_share()
            if share >= 1.0:
                continue
            cost = backend.wait_seconds() + backend.prefill_seconds(arrival.prompt_tokens)
            if share:
                cost += share / (1.0 - share) * (seconds + cost)
            cost += self.rng.random() * 1e-3
            if cost < least:
                best, least = index, cost
        if best is None and options:
            return self.rng.choice(options)
        return best


BASELINES: Mapping[str, PolicyMaker] = {
    "litellm_shuffle": LiteLLMShuffle,
    "envoy_outlier": EnvoyOutlier,
    "peak_ewma": PeakEwma,
    "prequal": Prequal,
    "oracle": Oracle,
}
