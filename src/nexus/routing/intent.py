"""One request on its way through the pipeline: what it wants, who is left, who was refused and why."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from nexus.core.decision import Candidate, Rejection
from nexus.core.fleet import FleetSnapshot
from nexus.core.request import Request
from nexus.routing.plan import Leg, ModelPlan, Option, Route


class Mark(Enum):
    """What quality noted of a candidate that it let through although it is over the threshold."""

    PROBE = "probe"
    DEGRADED = "degraded"


class Intent:
    """What the stages work on, once `enter` was called.

    Each narrows `candidates`, at first all that serve the model; whoever leaves is in `rejections` with a
    reason.

    `restricted` and `required_tier` hold for the model under consideration. `factors` and `costs` are None
    or keyed by backend id: what a score is multiplied by, and the estimated price of the request in USD.
    `marks` is None or keyed by backend id. `ranked` is the scheduler's answer, best first.

    Of what stood in the way: `saturated` and `blocked` say that for the current model a backend was left out
    only because it is full, or because it answered 429. Over all models so far, `shortest_block` is the
    shortest wait in seconds that such a 429 asked for, `shortest_wait` the shortest known wait for anything.

    `preview`: nothing will be sent, so nothing that is remembered between decisions may change.
    """

    __slots__ = (
        "blocked",
        "candidates",
        "costs",
        "factors",
        "leg",
        "marks",
        "now",
        "plan",
        "preview",
        "ranked",
        "rejections",
        "request",
        "required_tier",
        "restricted",
        "route",
        "saturated",
        "shortest_block",
        "shortest_wait",
        "snapshot",
    )

    def __init__(
        self, request: Request, snapshot: FleetSnapshot, now: float, route: Route, *, preview: bool = False
    ) -> None:
        self.request = request
        self.snapshot = snapshot
        self.now = now
        self.route = route
        self.preview = preview
        self.rejections: list[Rejection] = []
        self.shortest_block: float | None = None
        self.shortest_wait: float | None = None
        self.ranked: Sequence[Candidate] = ()

    def enter(self, leg: Leg) -> None:
        """Start on a model of the chain; the rejections and waits of those before it are kept."""
        self.leg = leg
        self.plan: ModelPlan = leg.plan
        self.restricted = leg.restricted or self.request.constraints.restricted
        self.required_tier = leg.required_tier
        self.candidates: Sequence[Option] = leg.plan.options
        self.factors: dict[str, float] | None = None
        self.costs: dict[str, float] | None = None
        self.marks: dict[str, Mark] | None = None
        self.ranked = ()
        self.saturated = False
        self.blocked = False

    def reject(self, option: Option, reconciler: str, reason: str, action: str) -> None:
        """Note why an option leaves; the stage then keeps it out of `candidates`."""
        self.rejections.append(Rejection(option.backend_id, reconciler, reason, action, option.model))

    def note_wait(self, seconds: float) -> None:
        """Remember when something that is out now may be back, if that is in the future."""
        if seconds > 0 and (self.shortest_wait is None or seconds < self.shortest_wait):
            self.shortest_wait = seconds

    def note_block(self, seconds: float) -> None:
        """Remember a wait that a backend asked for by 429."""
        self.blocked = True
        self.note_wait(seconds)
        if self.shortest_block is None or seconds < self.shortest_block:
            self.shortest_block = seconds


class Reconciler(Protocol):
    """One stage of the pipeline."""

    def name(self) -> str:
        """The short name metrics use: analyzer, privacy, budget, tier, quality or scheduler."""
        ...

    def concerns(self, leg: Leg, /) -> bool:
        """Whether there may be something to do for a request that brings no constraints of its own.

        It is asked once per model and snapshot; where the answer is no, such requests pass the stage by.
        """
        ...

    def reconcile(self, intent: Intent) -> None:
        """Narrow the candidates or adjust their scores. Candidates are never added."""
        ...
