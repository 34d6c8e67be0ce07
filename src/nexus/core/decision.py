"""What routing decided for one request, and why. One model behind header, endpoint, CLI, log and receipt."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from nexus.core.choice import RankedModel
from nexus.core.fleet import BackendView
from nexus.core.outcome import RequestOutcome
from nexus.core.request import Task


class Verdict(StrEnum):
    """What is to become of the request."""

    ROUTE = "route"
    QUEUE = "queue"
    REJECT = "reject"


class RejectCause(StrEnum):
    """Why nothing can be routed; it chooses the status the client sees."""

    UNKNOWN_MODEL = "unknown_model"
    EXCLUDED = "excluded"
    RATE_LIMITED = "rate_limited"


class Rejection(Struct, frozen=True, gc=False):
    """One backend's exclusion, by the first reconciler that objected."""

    backend: str
    reconciler: str
    reason: str
    suggested_action: str
    model: str = ""


class Candidate(Struct, frozen=True, gc=False):
    """One backend and model an attempt may be made on; a decision lists them best first.

    `score` is comparable only within one decision (higher is better). `terms` are the numbers it was made of,
    pairs of name and value in the order they were applied. `degraded`: over the error threshold, used because
    nothing better is left. `probe`: this attempt tests whether an excluded backend has recovered.
    `cost_usd`: an estimate, None where it is unknown.
    """

    view: BackendView
    model: str
    score: float
    terms: Iterable[tuple[str, float]] = ()
    degraded: bool = False
    probe: bool = False
    cost_usd: float | None = None


class Decision(Struct, frozen=True, gc=False):
    """The answer of the pipeline.

    `model` is the name asked for, `resolved_model` what aliases made of it, `served_model` the one of these
    candidates (another where a fallback took over). `chain_index` says how far down the fallback chain this
    decision is (0: the model itself) and `chain_length` how long the chain is, so that a later decision can
    go on from there. `retry_after` is in seconds, None where nothing is known. `saturated`: a backend is not
    among the candidates only because it is at its concurrency limit.

    Where the request left the model open, `models` are those there was to choose from, in the order in which
    they are tried, `propensity` is the probability with which the first was chosen, and `task` the one it was
    chosen for; else they are empty and None.
    """

    verdict: Verdict
    model: str
    resolved_model: str
    served_model: str
    candidates: Sequence[Candidate]
    rejections: tuple[Rejection, ...]
    route_reason: str
    restricted: bool = False
    required_tier: int | None = None
    chain_index: int = 0
    chain_length: int = 1
    cause: RejectCause | None = None
    retry_after: float | None = None
    close_names: tuple[str, ...] = ()
    saturated: bool = False
    models: tuple[RankedModel, ...] = ()
    propensity: float | None = None
    task: Task | None = None


Finished = tuple[RequestOutcome, Decision | None]
"""How a request ended, and the decision for it, None where none was made."""
