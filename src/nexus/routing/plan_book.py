"""The plans of the current snapshot."""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from nexus.config.model import QualitySettings, RoutingConfig
from nexus.core.backend import ModelInfo, Zone
from nexus.core.decision import Candidate, Decision, Verdict
from nexus.core.fleet import BackendStatus, BackendView, FleetSnapshot
from nexus.core.quality import QualityView, exceeds
from nexus.routing.names import (
    Rule,
    alias_path,
    auto_names,
    close_names,
    higher_tier,
    is_auto,
    matching_rule,
)
from nexus.routing.plan import NO_LIMIT, ONLY_CANDIDATE, Leg, ModelPlan, Option, Route

_MAX_ROUTES: Final = 4096


class PlanBook:
    """Plans of the current snapshot, made on first use and dropped with the snapshot.

    `auto`: names that leave the model open are known. `stages_for` fills `Leg.stages`.
    """

    def __init__(
        self,
        routing: RoutingConfig,
        quality: QualitySettings,
        *,
        auto: bool = False,
        stages_for: Callable[[Leg], tuple[int, ...]] = lambda _: (),
    ) -> None:
        self._stages_for = stages_for
        self._auto_models = tuple(routing.auto_models) if auto else ()
        self._aliases = dict(routing.aliases)
        self._fallbacks = {name: tuple(chain) for name, chain in routing.fallbacks.items()}
        self._policies = tuple(routing.policies)
        self._min_samples = quality.min_samples
        self._threshold = quality.error_rate_threshold
        self._snapshot: FleetSnapshot | None = None
        self._routes: dict[str, Route] = {}
        self._plans: dict[str, ModelPlan] = {}

    def route(self, name: str, snapshot: FleetSnapshot) -> Route:
        """The route of a name under this snapshot."""
        if snapshot is not self._snapshot:
            self._routes = {}
            self._plans = {}
            self._snapshot = snapshot
        route = self._routes.get(name)
        if route is None:
            route = self._compile(name, snapshot)
            if route.known and len(self._routes) < _MAX_ROUTES:
                self._routes[name] = route
        return route

    def close_names(self, name: str, snapshot: FleetSnapshot) -> tuple[str, ...]:
        """Known model names and aliases that look like this one."""
        return close_names(
            name, (*snapshot.by_model, *self._aliases, *(auto_names() if self._auto_models else ()))
        )

    def _compile(self, name: str, snapshot: FleetSnapshot) -> Route:
        path = alias_path(name, self._aliases)
        fallbacks = next((self._fallbacks[step] for step in path if step in self._fallbacks), ())
        rule = matching_rule(path, self._policies)
        plan = self._plan(path[-1], snapshot)
        legs = [self._leg(plan, rule.restricted, rule.min_tier)]
        floor = higher_tier(rule.min_tier, plan.lowest_tier)
        seen = {path[-1]}
        for fallback in fallbacks:
            fallback_path = alias_path(fallback, self._aliases)
            if fallback_path[-1] not in seen:
                seen.add(fallback_path[-1])
                legs.append(self._fallback_leg(fallback_path, rule, floor, snapshot))
        spread = self._spread(rule, snapshot) if self._auto_models and is_auto(path[-1]) else ()
        known = bool(spread) or any(leg.plan.options for leg in legs)
        straight = None if spread else _straight(name, path[-1], legs)
        return Route(name, path[-1], tuple(legs), known, spread, straight)

    def _spread(self, asked: Rule, snapshot: FleetSnapshot) -> tuple[Leg, ...]:
        """Every model that may be chosen, with what is demanded of it and of the name asked for."""
        return tuple(
            self._fallback_leg((model,), asked, asked.min_tier, snapshot)
            for model, views in snapshot.by_model.items()
            if views and any(fnmatchcase(model, pattern) for pattern in self._auto_models)
        )

    def _fallback_leg(
        self, path: tuple[str, ...], asked: Rule, floor: int | None, snapshot: FleetSnapshot
    ) -> Leg:
        """A fallback keeps what was demanded of the model asked for, and adds its own policies."""
        own = matching_rule(path, self._policies)
        return self._leg(
            self._plan(path[-1], snapshot),
            asked.restricted or own.restricted,
            higher_tier(floor, own.min_tier),
        )

    def _leg(self, plan: ModelPlan, restricted: bool, required_tier: int | None) -> Leg:
        leg = Leg(plan, restricted, required_tier)
        return Leg(plan, restricted, required_tier, self._stages_for(leg))

    def _plan(self, model: str, snapshot: FleetSnapshot) -> ModelPlan:
        plan = self._plans.get(model)
        if plan is None:
            views = snapshot.by_model.get(model, ())
            options = tuple(self._option(index, view, model) for index, view in enumerate(views))
            plan = _plan_of(model, options)
            if options:
                self._plans[model] = plan
        return plan

    def _option(self, index: int, view: BackendView, model: str) -> Option:
        backend = view.backend
        quality = view.quality_for(model, self._min_samples)
        return Option(
            index=index,
            view=view,
            live=view.live,
            backend_id=backend.id,
            model=model,
            info=view.models.get(model) or ModelInfo(model),
            priority=backend.priority,
            tier=backend.tier,
            limit=backend.max_concurrency or NO_LIMIT,
            avg_ttft_ms=quality.metrics.avg_ttft_ms if quality else 0,
            is_open=backend.zone is Zone.OPEN,
            is_cloud=backend.type.is_cloud,
            unhealthy=view.status is BackendStatus.UNHEALTHY,
            excess=self._excess(quality),
            quality=quality,
            price=view.prices.get(model),
            unweighed=Candidate(view, model, -math.inf, (("unweighed", 1.0),)),
        )

    def _excess(self, quality: QualityView | None) -> str | None:
        if quality is None or not exceeds(quality, self._threshold, self._min_samples):
            return None
        return f"Error rate {quality.judged_rate:.1%} exceeds threshold {self._threshold:.1%}"


def _straight(name: str, resolved: str, legs: Sequence[Leg]) -> Decision | None:
    leg = legs[0]
    # The last stage, which ranks, has something to say of every model.
    if len(leg.plan.options) != 1 or len(leg.stages) != 1:
        return None
    return Decision(
        Verdict.ROUTE,
        name,
        resolved,
        leg.plan.model,
        (leg.plan.options[0].unweighed,),
        (),
        ONLY_CANDIDATE,
        leg.restricted,
        leg.required_tier,
        chain_length=len(legs),
    )


def _plan_of(model: str, options: tuple[Option, ...]) -> ModelPlan:
    infos = [option.info for option in options]
    return ModelPlan(
        model=model,
        options=options,
        least_context=min(
            (i.context_length for i in infos if i.context_length is not None), default=NO_LIMIT
        ),
        lacks_ability=any(False in (i.vision, i.tools, i.json_mode, i.embedding) for i in infos),
        has_open=any(option.is_open for option in options),
        has_cloud=any(option.is_cloud for option in options),
        has_price=any(option.price is not None for option in options),
        exceeded=tuple(option for option in options if option.excess is not None),
        lowest_tier=min((option.tier for option in options), default=None),
    )
