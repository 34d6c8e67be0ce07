"""Tells the other workers what happens here, and takes in what they say."""

from collections.abc import Callable

from nexus.app.workers.attempts import AttemptIntake, sum_up
from nexus.app.workers.facts import Facts
from nexus.app.workers.gateway import WorkerGateway
from nexus.app.workers.learned import take_learned, tell_learned
from nexus.app.workers.messages import Batch, Message, Picture
from nexus.app.workers.news import (
    BreakerNews,
    News,
    Scene,
    Standing,
    encoder,
    news_decoder,
)
from nexus.app.workers.pending import PendingBook
from nexus.core.backend import Backend
from nexus.core.clock import Clock
from nexus.core.fleet import BackendView
from nexus.state.spend import MonthSpend

_FACTS_SECONDS = 0.5
TELL_SECONDS = 0.025
"""Time between two batches."""


class Sharing:
    """One worker's part in the common view.

    Args:
        gateway: this worker's.
        index: this worker's number.
        clock: when others' news is taken to have happened.
        send: passes a message on to the supervisor.
        found: the backends, where they were discovered.
    """

    def __init__(
        self,
        gateway: WorkerGateway,
        index: int,
        clock: Clock,
        send: Callable[[Message], None],
        found: tuple[Backend, ...] = (),
    ) -> None:
        self._gateway = gateway
        self._index = index
        self._send = send
        self._found = found
        self._pending = PendingBook()
        self._intake = AttemptIntake(
            gateway.store, gateway.learner, gateway.fast_path, gateway.monitor, clock
        )
        self._clock = clock
        self._facts_due = clock.monotonic()
        self._spend = gateway.spend.standing()
        self._spends: dict[int, MonthSpend] = {}
        self._standings: dict[str, Standing] = {}
        self._heard: dict[str, Standing] = {}
        self._version = -1
        gateway.fleet.on_members(self._stand_again)

    def tell(self) -> None:
        """Tell the others what happened since the last call, if anything did."""
        gateway = self._gateway
        snapshot = gateway.fleet.snapshot
        pairs, backends = sum_up(gateway.log.take(), snapshot)
        breakers, gateway.breakers = gateway.breakers, []
        forgiven, gateway.forgiven = gateway.forgiven, []
        news = News(
            breakers=breakers,
            forgiven=forgiven,
            pairs=pairs,
            backends=backends,
            pending=self._pending.take(snapshot.backends),
            standings=self._changed_standings() if gateway.leads else [],
            counts=gateway.book.take(),
            granted=gateway.buckets.granted() if gateway.buckets is not None else {},
            spend=self._changed_spend(),
            facts=self._due_facts(),
            outcomes=gateway.shared.take() if gateway.shared is not None else None,
        )
        if news:
            self._send(Batch(self._index, encoder.encode(news)))

    def hear(self, sender: int, body: bytes) -> None:
        """Take in a batch of another worker."""
        news = news_decoder.decode(body)
        gateway = self._gateway
        # What is known to have changed comes first: then its causes don't change it again.
        self._follow(news.breakers)
        for backend_id, model in news.forgiven:
            gateway.forgive(backend_id, model)
        for standing in news.standings:
            self._take_standing(standing)
        views = gateway.fleet.snapshot.backends
        if news.pending:
            self._pending.hear(sender, news.pending, views)
        self._intake.take_pairs(news.pairs, gateway.fleet.snapshot)
        self._intake.take_backends(news.backends, gateway.fleet.snapshot)
        if news.counts is not None:
            gateway.book.hear(news.counts)
            if gateway.shared is not None:
                gateway.shared.outdated = True
        self._take_rest(sender, news)
        if gateway.queue.depth:
            for backend_id in news.pending:
                gateway.queue.freed(backend_id)

    def forget(self, sender: int) -> None:
        """Another worker has ended: what it had under way is gone."""
        self._spends.pop(sender, None)
        self._gateway.spend.forget(sender)
        self._gateway.facts.forget(sender)
        used = self._pending.forget(sender, self._gateway.fleet.snapshot.backends)
        for backend_id in used:
            self._gateway.queue.freed(backend_id)

    def paint(self, target: int) -> None:
        """Send all we know for a worker that begins."""
        self.tell()
        gateway = self._gateway
        facts, gone = gateway.facts.everything(self._index)
        buckets = gateway.buckets
        views = gateway.fleet.snapshot.backends
        scene = Scene(
            found=self._found,
            standings=[self._standing(view) for view in views],
            breakers=self._open_breakers(),
            history=list(gateway.store.history()),
            pending=self._pending.everything(self._index),
            counts=gateway.book.everything(),
            filling=buckets.filling(self._clock.monotonic()) if buckets is not None else {},
            spends={**self._spends, self._index: gateway.spend.standing()},
            facts=facts,
            gone=gone,
            learned=tell_learned(views),
        )
        self._send(Picture(target, encoder.encode(scene)))

    def look(self, scene: Scene) -> None:
        """Begin with what another worker knows."""
        gateway = self._gateway
        for standing in scene.standings:
            self._take_standing(standing)
        gateway.store.restore(scene.history, 0.0)
        self._follow(scene.breakers)
        for sender, numbers in scene.pending.items():
            self._pending.hear(sender, numbers, gateway.fleet.snapshot.backends)
        if scene.counts is not None:
            gateway.book.hear(scene.counts)
        if gateway.buckets is not None:
            gateway.buckets.begin(scene.filling, self._clock.monotonic())
        for sender, spend in scene.spends.items():
            gateway.spend.hear(sender, spend)
        self._spends.update(scene.spends)
        gateway.facts.begin(scene.facts, scene.gone)
        now = self._clock.monotonic()
        take_learned(gateway.learner, gateway.fleet.snapshot.backends, scene.learned, now)

    def _take_rest(self, sender: int, news: News) -> None:
        gateway = self._gateway
        if news.granted and gateway.buckets is not None:
            now = self._clock.monotonic()
            for name, requests in news.granted.items():
                gateway.buckets.hear(name, requests, now)
        if news.spend is not None:
            self._spends[sender] = news.spend
            gateway.spend.hear(sender, news.spend)
        if news.facts is not None:
            gateway.facts.hear(sender, news.facts)
        if news.outcomes is not None and gateway.shared is not None:
            gateway.shared.hear(news.outcomes)

    def _changed_spend(self) -> MonthSpend | None:
        standing = self._gateway.spend.standing()
        if standing == self._spend:
            return None
        self._spend = standing
        return standing

    def _due_facts(self) -> Facts | None:
        now = self._clock.monotonic()
        if now < self._facts_due:
            return None
        self._facts_due = now + _FACTS_SECONDS
        return self._gateway.facts.read()

    # --- the checks of the worker that leads

    def _changed_standings(self) -> list[Standing]:
        snapshot = self._gateway.fleet.snapshot
        changed = []
        for view in snapshot.backends:
            known = self._standings.get(view.backend.id)
            if (
                known is None
                or known.status is not view.status
                or known.error != self._gateway.fleet.last_error(view.backend.id)
                or (self._version != snapshot.version and known.models != tuple(view.models.values()))
            ):
                standing = self._standings[view.backend.id] = self._standing(view)
                changed.append(standing)
        self._version = snapshot.version
        return changed

    def _standing(self, view: BackendView) -> Standing:
        error = self._gateway.fleet.last_error(view.backend.id)
        return Standing(view.backend.id, view.status, error, tuple(view.models.values()))

    def _stand_again(self) -> None:
        """Backends have come: the worker that leads may have taken them in, and said so, before us."""
        if not self._gateway.leads:
            for standing in self._heard.values():
                self._take_standing(standing)

    def _take_standing(self, standing: Standing) -> None:
        self._heard[standing.backend] = standing
        fleet = self._gateway.fleet
        fleet.set_error(standing.backend, standing.error)
        fleet.set_models(standing.backend, standing.models)
        fleet.set_status(standing.backend, standing.status, standing.error)

    # --- who is out

    def _open_breakers(self) -> list[BreakerNews]:
        path = self._gateway.fast_path
        found = []
        for backend in self._gateway.fleet.backends:
            breaker = path.breaker_of(backend.id)
            if breaker is not None and not breaker.is_closed:
                found.append(BreakerNews(backend.id, breaker.state, breaker.retry_after()))
        return found

    def _follow(self, breakers: list[BreakerNews]) -> None:
        gateway = self._gateway
        gateway.following = True
        try:
            for each in breakers:
                breaker = gateway.fast_path.breaker_of(each.backend)
                if breaker is not None:
                    breaker.adopt(each.state, each.wait)
        finally:
            gateway.following = False
