"""What can be worked out once per snapshot and model name, so that a decision only reads it.

Nothing in here depends on a request or on the time. Only names that some backend or the configuration knows
are kept, so a client that makes names up can't fill the memory.
"""

import sys

from msgspec import Struct

from nexus.core.backend import ModelInfo
from nexus.core.decision import Candidate, Decision
from nexus.core.fleet import BackendView, Price
from nexus.core.live import BackendLive
from nexus.core.quality import QualityView

NO_LIMIT = sys.maxsize
ONLY_CANDIDATE = "only-candidate"
"""The reason for a backend that had no rival."""
_MAX_ROUTES = 4096


class Option(Struct, frozen=True):
    """One backend that serves the model, with what a decision reads of it at hand.

    `index` is its place among the options of its model. `limit` is the configured concurrency (`NO_LIMIT`
    without one). `quality` are the figures that judge this pair of backend and model; `excess` says in words
    that they are over the error threshold, and is None where they are not. `unweighed` is the candidate for
    where nobody compared it with others: one object for all requests.
    """

    index: int
    view: BackendView
    live: BackendLive
    backend_id: str
    model: str
    info: ModelInfo
    priority: int
    tier: int
    limit: int
    avg_ttft_ms: int
    is_open: bool
    is_cloud: bool
    unhealthy: bool
    excess: str | None
    quality: QualityView | None
    price: Price | None
    unweighed: Candidate


class ModelPlan(Struct, frozen=True):
    """The backends of one model, and which checks can be skipped for all of them at once.

    `least_context` is the smallest known context length (`NO_LIMIT`: none is known); `exceeded` are the
    options over the error threshold; `lowest_tier` is None where no backend serves the model.
    """

    model: str
    options: tuple[Option, ...]
    least_context: int
    lacks_ability: bool
    has_open: bool
    has_cloud: bool
    has_price: bool
    exceeded: tuple[Option, ...]
    lowest_tier: int | None


class Leg(Struct, frozen=True):
    """One model of the chain and what policies demand of whoever answers for it.

    `stages` are the indices of the pipeline's stages that may have something to do for a request without
    constraints of its own.
    """

    plan: ModelPlan
    restricted: bool
    required_tier: int | None
    stages: tuple[int, ...] = ()


class Route(Struct, frozen=True):
    """The model a name leads to and its fallbacks. `known`: some backend serves one of them.

    `spread` is empty, unless the name leaves the model open: then these are the models to choose from, and
    the first of `legs` only stands for them.

    `straight` is None, unless one backend alone serves the model and no stage but the last has anything to
    say: then it is the decision for every request that it can take and that has no constraints of its own.
    """

    model: str
    resolved: str
    legs: tuple[Leg, ...]
    known: bool
    spread: tuple[Leg, ...] = ()
    straight: Decision | None = None
