"""The simulated backends: slots, a queue in front of them, prompts that take time, and faults."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from bench.routing_sim.engine import Engine
from bench.routing_sim.scenarios import FOREVER, Fault, Harm, Scenario
from bench.routing_sim.trace import PREFILL_PER_TOKEN, PREFILL_SECONDS, SECONDS_PER_TOKEN
from nexus.core.outcome import FailureKind

_REFUSAL_SECONDS = 0.002
_RECENT = 9
_RECENT_SECONDS = 5.0


class Sink(Protocol):
    """Who is told how an attempt goes on the backend's side."""

    def first_token(self) -> None:
        """The first piece of the answer is here."""
        ...

    def finished(self) -> None:
        """The answer is complete."""
        ...

    def failed(self, kind: FailureKind, status: int, retry_after: float | None) -> None:
        """It went wrong; `status` 0: no HTTP answer."""
        ...


class Job:
    """One attempt on one backend. `luck` says whether a fault hits it, `noise` scales its prompt's time."""

    __slots__ = (
        "doom",
        "live",
        "luck",
        "noise",
        "output_tokens",
        "prompt_tokens",
        "release_at",
        "running",
        "sent_at",
        "sink",
    )

    def __init__(self, prompt_tokens: int, output_tokens: int, luck: float, noise: float, sink: Sink) -> None:
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.luck = luck
        self.noise = noise
        self.sink = sink
        self.live = True
        self.running = False
        self.doom: Fault | None = None
        self.release_at = 0.0
        self.sent_at = 0.0


class SimBackend:
    """One server. `jobs` are all attempts it has, waiting or running (or hanging)."""

    def __init__(self, index: int, engine: Engine, scenario: Scenario) -> None:
        self.index = index
        self.engine = engine
        self.slots = scenario.slots[index]
        self.speed = scenario.speeds[index]
        self.faults = tuple(fault for fault in scenario.faults if index in fault.backends)
        self.spoiled_at: float | None = None
        """When the first attempt was sent that a fault spoils."""
        self.jobs: set[Job] = set()
        self.busy = 0
        self.queue: deque[Job] = deque()
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._hits = [0] * len(self.faults)
        self._tokens = [fault.burst for fault in self.faults]
        self._refilled = [0.0] * len(self.faults)
        for fault in self.faults:
            if fault.harm is Harm.DOWN:
                engine.at(fault.start, self._go_down, fault)

    # --- what a gateway does

    def submit(self, job: Job) -> None:
        """Take an attempt on. Its sink hears of it later, never before this returns."""
        job.sent_at = self.engine.now
        self.jobs.add(job)
        fault = self._fault_for(job)
        if fault is None:
            self._enter(job)
            return
        if self.spoiled_at is None and fault.harm is not Harm.THROTTLE:
            self.spoiled_at = job.sent_at
        job.doom = fault
        if fault.harm in {Harm.GRAY, Harm.COSTLY}:
            self._enter(job)
        elif fault.harm is not Harm.HANG:
            seconds = fault.seconds if fault.harm is Harm.ERROR else _REFUSAL_SECONDS
            self.engine.after(seconds, self._turn_away, job)

    def cancel(self, job: Job) -> None:
        """The gateway gave up on it."""
        if job.live:
            self._end(job)

    # --- what an oracle and a server-side probe may ask

    @property
    def answers(self) -> bool:
        """Whether it answers a probe at all."""
        now = self.engine.now
        return not any(each.harm in {Harm.DOWN, Harm.HANG} and each.active(now) for each in self.faults)

    def recent_ttft(self) -> float:
        """The median time to first token of its latest answers; 0 where none is recent."""
        oldest = self.engine.now - _RECENT_SECONDS
        recent = sorted(seconds for moment, seconds in self._recent if moment >= oldest)
        return recent[len(recent) // 2] if recent else 0.0

    def error_share(self) -> tuple[float, float]:
        """The true probability that an attempt sent now fails, and the seconds that such a failure takes."""
        now = self.engine.now
        for index, fault in enumerate(self.faults):
            if fault.harm is Harm.SLOW or not fault.active(now) or fault.first < FOREVER:
                continue
            if fault.harm is Harm.THROTTLE:
                self._refill(index, fault)
                if self._tokens[index] >= 1.0:
                    continue
                return 1.0, _REFUSAL_SECONDS
            return (1.0 if fault.harm in {Harm.DOWN, Harm.HANG} else fault.share), fault.seconds
        return 0.0, 0.0

    def wait_seconds(self) -> float:
        """How long an attempt sent now will wait for a slot: exact, barring cancellations."""
        if self.busy < self.slots:
            return 0.0
        free_at = sorted(job.release_at for job in self.jobs if job.running)
        for job in self.queue:
            if job.live:
                begin = free_at.pop(0)
                _insert(free_at, begin + self._service_seconds(job))
        return max(0.0, free_at[0] - self.engine.now)

    def prefill_seconds(self, prompt_tokens: int, noise: float = 1.0) -> float:
        """Time from having a slot to the first token, as of now."""
        unloaded = PREFILL_SECONDS + PREFILL_PER_TOKEN * prompt_tokens
        return unloaded * self.speed * noise * self._slowness()

    # --- inside

    def _fault_for(self, job: Job) -> Fault | None:
        now = self.engine.now
        for index, fault in enumerate(self.faults):
            if fault.harm is Harm.SLOW or not fault.active(now) or self._hits[index] >= fault.first:
                continue
            if fault.harm is Harm.THROTTLE:
                self._refill(index, fault)
                if self._tokens[index] >= 1.0:
                    self._tokens[index] -= 1.0
                    continue
            elif job.luck >= fault.share:
                continue
            self._hits[index] += 1
            return fault
        return None

    def _refill(self, index: int, fault: Fault) -> None:
        now = self.engine.now
        gained = (now - self._refilled[index]) * fault.rate
        self._tokens[index] = min(fault.burst, self._tokens[index] + gained)
        self._refilled[index] = now

    def _slowness(self) -> float:
        factor = 1.0
        now = self.engine.now
        for fault in self.faults:
            if fault.harm is Harm.SLOW and fault.active(now):
                risen = min(1.0, (now - fault.start) / fault.seconds)
                factor *= 1.0 + (fault.factor - 1.0) * risen
        return factor

    def _service_seconds(self, job: Job) -> float:
        if job.doom is not None and job.doom.harm is Harm.COSTLY:
            return job.doom.seconds
        decode = 0.0 if job.doom is not None else job.output_tokens * SECONDS_PER_TOKEN * self.speed
        return self.prefill_seconds(job.prompt_tokens, job.noise) + decode

    def _enter(self, job: Job) -> None:
        if self.busy < self.slots:
            self._run(job)
        else:
            self.queue.append(job)

    def _run(self, job: Job) -> None:
        engine = self.engine
        self.busy += 1
        job.running = True
        seconds = self._service_seconds(job)
        job.release_at = engine.now + seconds
        if job.doom is None:
            engine.after(self.prefill_seconds(job.prompt_tokens, job.noise), self._first, job)
            engine.after(seconds, self._finish, job)
        else:
            engine.after(seconds, self._turn_away, job)

    def _first(self, job: Job) -> None:
        if job.live:
            now = self.engine.now
            self._recent.append((now, now - job.sent_at))
            job.sink.first_token()

    def _finish(self, job: Job) -> None:
        if job.live:
            self._end(job)
            job.sink.finished()

    def _turn_away(self, job: Job) -> None:
        fault = job.doom
        if not job.live or fault is None:
            return
        self._end(job)
        if fault.harm is Harm.DOWN:
            job.sink.failed(FailureKind.CONNECT, 0, None)
        elif fault.harm is Harm.GRAY:
            job.sink.failed(FailureKind.EMPTY, 200, None)
        elif fault.harm is Harm.THROTTLE:
            job.sink.failed(FailureKind.SERVER_ERROR, 429, fault.seconds)
        else:
            job.sink.failed(FailureKind.SERVER_ERROR, 500, None)

    def _end(self, job: Job) -> None:
        job.live = False
        self.jobs.discard(job)
        if job.running:
            self.busy -= 1
            while self.queue and self.busy < self.slots:
                following = self.queue.popleft()
                if following.live:
                    self._run(following)

    def _go_down(self, fault: Fault) -> None:
        """Reset what is in flight."""
        lost = sorted((job for job in self.jobs if job.doom is not fault), key=lambda job: job.sent_at)
        self.queue.clear()
        for job in lost:
            self._end(job)
        if lost:
            self.spoiled_at = self.engine.now
        for job in lost:
            job.sink.failed(FailureKind.RESET, 0, None)


def _insert(ordered: list[float], value: float) -> None:
    position = len(ordered)
    while position and ordered[position - 1] > value:
        position -= 1
    ordered.insert(position, value)


def make_backends(engine: Engine, scenario: Scenario) -> Sequence[SimBackend]:
    """The scenario's servers."""
    return [SimBackend(index, engine, scenario) for index in range(len(scenario.slots))]
