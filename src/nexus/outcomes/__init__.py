"""Was the answer any good? Outcomes of inference calls, profiles of models, and the ledger of receipts.

Works without the gateway: nothing here loads a web server, an event loop's library or a metrics client.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task as InferenceTask
from nexus.ledger.jsonl import append_ledger_entries, prune_ledger, read_ledger
from nexus.ledger.open import open_ledger
from nexus.ledger.store import LedgerError, LedgerStore
from nexus.outcomes.call import Call, CallDetails, PendingCall
from nexus.outcomes.figures import TrackerFigures
from nexus.outcomes.outcome import CodeOutcome, InferredKind, InferredOutcome, SignalResult
from nexus.outcomes.profile import ModelProfile, TaskStats
from nexus.outcomes.tracker import OutcomeTracker

if TYPE_CHECKING:
    from nexus.outcomes.code.check import Verdict, check_repository
    from nexus.outcomes.code.repository import RepositoryError
    from nexus.outcomes.code.winnow import Fingerprint, fingerprint

_LATER = {
    "Fingerprint": "nexus.outcomes.code.winnow",
    "RepositoryError": "nexus.outcomes.code.repository",
    "Verdict": "nexus.outcomes.code.check",
    "check_repository": "nexus.outcomes.code.check",
    "fingerprint": "nexus.outcomes.code.winnow",
}

__all__ = [
    "Call",
    "CallDetails",
    "CodeOutcome",
    "Fingerprint",
    "InferenceTask",
    "InferredKind",
    "InferredOutcome",
    "LedgerEntry",
    "LedgerError",
    "LedgerStore",
    "ModelProfile",
    "OutcomeTracker",
    "PendingCall",
    "RepositoryError",
    "SignalResult",
    "TaskStats",
    "TrackerFigures",
    "Verdict",
    "append_ledger_entries",
    "check_repository",
    "fingerprint",
    "open_ledger",
    "prune_ledger",
    "read_ledger",
]


def __getattr__(name: str) -> Any:
    """What looks into repositories is imported when it is asked for: most programs never do."""
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
