"""Shipped fakes for tests of Nexus and of code that uses its libraries."""

from nexus.testing.answers import Answer
from nexus.testing.behaviours import (
    BrokenJson,
    Close,
    Cut,
    Delay,
    EmptyChoices,
    ErrorBody,
    Hang,
    Insert,
    NoDone,
    Page,
    Raw,
    Relay,
    Reset,
    Split,
    Status,
    Trickle,
    Where,
)
from nexus.testing.clock import ManualClock
from nexus.testing.faulty_backend import FaultyBackend
from nexus.testing.gateway_process import GatewayProcess, GatewayProcessError
from nexus.testing.llama_process import LlamaServer, LlamaServerError
from nexus.testing.memory_ledger import MemoryLedger
from nexus.testing.weights import ModelUnavailableError, find_weights
from nexus.testing.wire import Behaviour, ReceivedRequest

__all__ = [
    "Answer",
    "Behaviour",
    "BrokenJson",
    "Close",
    "Cut",
    "Delay",
    "EmptyChoices",
    "ErrorBody",
    "FaultyBackend",
    "GatewayProcess",
    "GatewayProcessError",
    "Hang",
    "Insert",
    "LlamaServer",
    "LlamaServerError",
    "ManualClock",
    "MemoryLedger",
    "ModelUnavailableError",
    "NoDone",
    "Page",
    "Raw",
    "ReceivedRequest",
    "Relay",
    "Reset",
    "Split",
    "Status",
    "Trickle",
    "Where",
    "find_weights",
]
