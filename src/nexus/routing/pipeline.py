"""The pipeline: six stages in order, for the model and then for each fallback, until somebody can answer."""

import logging
from collections.abc import Callable
from random import Random
from time import perf_counter
from typing import Final, Protocol

from nexus.config.model import BreakerSettings, QualitySettings, RoutingConfig
from nexus.core.choice import ModelChooser
from nexus.core.decision import Decision, RejectCause, Verdict
from nexus.core.expected_time import ExpectedTimeSettings
from nexus.core.fleet import FleetSnapshot
from nexus.core.request import Request
from nexus.routing.affinity import PrefixAffinity
from nexus.routing.auto import Chosen, choose
from nexus.routing.explanation import explain
from nexus.routing.intent import Intent, Reconciler
from nexus.routing.plan import ONLY_CANDIDATE, Leg, Route
from nexus.routing.plan_book import PlanBook
from nexus.routing.reconcilers.analyzer import RequestAnalyzer
from nexus.routing.reconcilers.budget import BudgetReconciler
from nexus.routing.reconcilers.privacy import PrivacyReconciler
from nexus.routing.reconcilers.quality import QualityReconciler
from nexus.routing.reconcilers.scheduler import SchedulerReconciler
from nexus.routing.reconcilers.tier import TierReconciler
from nexus.routing.strategies.table import Means, strategy_for

_log: Final = logging.getLogger("nexus.routing")
_ROUTE: Final = Verdict.ROUTE  # members of an enumeration are looked up slowly


class StageObserver(Protocol):
    """Who wants to know how long each stage took.

    Stages that have nothing to do for a model are passed by. Going on down the chain after attempts failed,
    and previews, are not reported.
    """

    def observe(self, stage: int, seconds: float) -> None:
        """A stage ran; `stage` is its place in `Router.stage_names`."""
        ...


class Router:
    """Decides where requests go. Pure apart from turns and log lines: no I/O, no locks, no clock.

    Args:
        routing, quality, breaker: the settings; `configure` replaces them.
        rng: breaks ties and starts turns.
        stage_observer: told the time of each stage that ran for a request; None measures nothing.
        timer: reads seconds for `stage_observer`.
        tuning: the constants of `expected_time`, the same that the learner has; None are the defaults.
        queueing: whether requests can wait. If not, learned limits only steer: they never make one wait.
        chooser: ranks models for requests that leave the model open; None: `auto` is an unknown name.
        affinity: who has which prompt cached; None: every prompt is taken for new.
    """

    def __init__(
        self,
        routing: RoutingConfig,
        quality: QualitySettings,
        breaker: BreakerSettings,
        *,
        rng: Random,
        stage_observer: StageObserver | None = None,
        timer: Callable[[], float] = perf_counter,
        tuning: ExpectedTimeSettings | None = None,
        queueing: bool = False,
        chooser: ModelChooser | None = None,
        affinity: PrefixAffinity | None = None,
    ) -> None:
        self._affinity = affinity
        self._rng = rng
        self._tuning = tuning or ExpectedTimeSettings()
        self._queueing = queueing
        self._chooser = chooser
        self._observer = stage_observer
        self._timer = timer
        self.configure(routing, quality, breaker)

    def configure(self, routing: RoutingConfig, quality: QualitySettings, breaker: BreakerSettings) -> None:
        """Replace the settings; turns start anew. A decision under way is not touched."""
        breakers = breaker.enabled
        tuning = self._tuning
        strategy = strategy_for(Means(routing, quality, tuning, self._rng, self._affinity))
        self._scheduler = SchedulerReconciler(
            strategy, quality, breakers=breakers, learned_limits=tuning if self._queueing else None
        )
        self._stages: tuple[Reconciler, ...] = (
            RequestAnalyzer(),
            PrivacyReconciler(),
            BudgetReconciler(routing.budget),
            TierReconciler(breakers=breakers),
            QualityReconciler(quality, breakers=breakers),
            self._scheduler,
        )
        self._reconcile = tuple(stage.reconcile for stage in self._stages)
        self._all_stages = tuple(range(len(self._stages)))
        self._strategy_name = strategy.name()
        self._book = PlanBook(routing, quality, auto=self._chooser is not None, stages_for=self._stages_for)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages in order, as metrics call them."""
        return tuple(stage.name() for stage in self._stages)

    def decide(
        self,
        request: Request,
        snapshot: FleetSnapshot,
        now: float,
        *,
        chain_start: int = 0,
        preview: bool = False,
    ) -> Decision:
        """Where the request is to go.

        The chain is the model after aliases and then its fallbacks; the decision is for the first of them,
        from position `chain_start` on, that some backend can answer for. `now` is a monotonic reading in
        seconds. `preview` is for explaining: nothing is measured and no turn is taken.

        The verdict is `route` with the candidates in the order of attempts; `queue` when the only thing in
        the way is that backends are full; else `reject` with a cause. A backend that alone serves the model
        is not weighed, for there is nothing to compare it with, unless this is a preview.
        """
        route = self._book.route(request.model, snapshot)
        if not route.known:
            return self._unknown(route, snapshot)
        straight = route.straight
        unusual = preview or chain_start or request.constraints.restricted
        if straight is not None and not unusual and self._is_free(route.legs[0], now):
            decision = straight
        else:
            intent = Intent(request, snapshot, now, route, preview=preview)
            decision = self._follow(intent, chain_start)
        if _log.isEnabledFor(logging.DEBUG):
            fields = {
                "trace_id": request.trace_id,
                "decision": explain(decision, request, snapshot).to_dict(),
            }
            _log.debug("decision %s", fields, extra=fields)
        return decision

    def _is_free(self, leg: Leg, now: float) -> bool:
        """Whether the only backend of a model can take the request; reported as the stage that looks."""
        timer = self._timer
        before = timer()
        free = self._scheduler.all_sound(leg.plan.options, now)
        if free and self._observer is not None:
            self._observer.observe(leg.stages[0], timer() - before)
        return free

    def _follow(self, intent: Intent, chain_start: int) -> Decision:
        """Go down the chain until a model has candidates."""
        legs = intent.route.legs
        observer = None if chain_start or intent.preview else self._observer
        queue_at = -1
        index = chain_start
        chosen: Chosen | None = None
        while index < len(legs):
            if index == 0 and intent.route.spread:
                chosen = self._choose(intent, observer)
            else:
                intent.enter(legs[index])
                self._run(intent, observer)
            if intent.ranked or chosen is not None:
                break
            if intent.saturated and queue_at < 0:
                queue_at = index
            index += 1
        if chosen is not None:
            return _chosen(intent, chosen)
        if intent.ranked:
            return self._routed(intent, index)
        return _nothing_left(intent, chain_start, queue_at)

    def _choose(self, intent: Intent, observer: StageObserver | None) -> Chosen | None:
        """Let the chooser pick among all models."""
        if self._chooser is None:
            return None
        return choose(intent, intent.route.spread, lambda each: self._run(each, observer), self._chooser)

    def _stages_for(self, leg: Leg) -> tuple[int, ...]:
        return tuple(index for index, stage in enumerate(self._stages) if stage.concerns(leg))

    def _run(self, intent: Intent, observer: StageObserver | None) -> None:
        """Run the stages that concern the model; all of them where the request has constraints of its own.

        For an explanation too all of them are run: they log what they did.
        """
        if not intent.candidates:
            return
        unusual = intent.preview or intent.request.constraints.restricted
        stages = self._all_stages if unusual else intent.leg.stages
        reconcile = self._reconcile
        if observer is None:
            for index in stages:
                reconcile[index](intent)
                if not intent.candidates:
                    return
            return
        timer = self._timer
        before = timer()
        for index in stages:
            reconcile[index](intent)
            after = timer()
            observer.observe(index, after - before)
            before = after
            if not intent.candidates:
                return

    def _routed(self, intent: Intent, index: int) -> Decision:
        ranked = intent.ranked
        if index > 0:
            reason = "fallback"
        elif ranked[0].probe:
            reason = "probe"
        elif len(ranked) == 1:
            reason = ONLY_CANDIDATE
        else:
            reason = self._strategy_name
        route = intent.route
        return Decision(
            _ROUTE,
            route.model,
            route.resolved,
            intent.plan.model,
            ranked,
            tuple(intent.rejections),
            reason,
            intent.restricted,
            intent.required_tier,
            index,
            len(route.legs),
            None,
            None,
            (),
            intent.saturated,
        )

    def _unknown(self, route: Route, snapshot: FleetSnapshot) -> Decision:
        return Decision(
            verdict=Verdict.REJECT,
            model=route.model,
            resolved_model=route.resolved,
            served_model=route.resolved,
            candidates=(),
            rejections=(),
            route_reason="",
            chain_length=len(route.legs),
            cause=RejectCause.UNKNOWN_MODEL,
            close_names=self._book.close_names(route.model, snapshot),
        )


def _chosen(intent: Intent, chosen: Chosen) -> Decision:
    """The decision for a request that left the model open."""
    route = intent.route
    return Decision(
        Verdict.ROUTE,
        route.model,
        route.resolved,
        chosen.leg.plan.model,
        chosen.candidates,
        tuple(intent.rejections),
        chosen.reason,
        chosen.leg.restricted or intent.request.constraints.restricted,
        chosen.leg.required_tier,
        0,
        len(route.legs),
        saturated=intent.saturated,
        models=chosen.choice.ranking,
        propensity=chosen.propensity,
        task=chosen.task,
    )


def _nothing_left(intent: Intent, chain_start: int, queue_at: int) -> Decision:
    """Wait for a place where one is all that is missing, else refuse and say when it may be better.

    The position is the model to go on with: the first one that is merely full, else where this one began.
    """
    route = intent.route
    queue = queue_at >= 0
    position = queue_at if queue else min(chain_start, len(route.legs) - 1)
    cause: RejectCause | None = None
    retry_after: float | None = intent.shortest_wait
    if queue:
        retry_after = None
    elif intent.shortest_block is not None:
        cause = RejectCause.RATE_LIMITED
        retry_after = intent.shortest_block
    else:
        cause = RejectCause.EXCLUDED
    leg = route.legs[position]
    return Decision(
        verdict=Verdict.QUEUE if queue else Verdict.REJECT,
        model=route.model,
        resolved_model=route.resolved,
        served_model=leg.plan.model,
        candidates=(),
        rejections=tuple(intent.rejections),
        route_reason="",
        restricted=leg.restricted or intent.request.constraints.restricted,
        required_tier=leg.required_tier,
        chain_index=position,
        chain_length=len(route.legs),
        cause=cause,
        retry_after=retry_after,
        saturated=queue,
    )
