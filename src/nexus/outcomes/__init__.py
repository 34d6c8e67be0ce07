"""Was the answer any good? Outcomes of inference calls, profiles of models, and the ledger of receipts.

Works without the gateway: nothing here loads a web server, an event loop's library or a metrics client.
"""

from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task as InferenceTask
from nexus.ledger.jsonl import append_ledger_entries, prune_ledger, read_ledger
from nexus.ledger.open import open_ledger
from nexus.ledger.store import LedgerError, LedgerStore
from nexus.outcomes.call import CallDetails, PendingCall
from nexus.outcomes.outcome import CodeOutcome, InferredKind, InferredOutcome, SignalResult
from nexus.outcomes.profile import ModelProfile, TaskStats
from nexus.outcomes.state import TrackerFigures
from nexus.outcomes.tracker import OutcomeTracker

__all__ = [
    "CallDetails",
    "CodeOutcome",
    "InferenceTask",
    "InferredKind",
    "InferredOutcome",
    "LedgerEntry",
    "LedgerError",
    "LedgerStore",
    "ModelProfile",
    "OutcomeTracker",
    "PendingCall",
    "SignalResult",
    "TaskStats",
    "TrackerFigures",
    "append_ledger_entries",
    "open_ledger",
    "prune_ledger",
    "read_ledger",
]
