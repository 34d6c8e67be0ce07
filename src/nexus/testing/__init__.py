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
from nexus.testing.hostile_client import (
    HostileAnswer,
    HostileClient,
    IdleCrowd,
    Moment,
    SlowReader,
    allow_open_files,
    parse_answers,
)
from nexus.testing.hostile_requests import (
    SMUGGLED_MODEL,
    Shape,
    bad_bodies,
    chat_body,
    chunked_bytes,
    odd_bodies,
    request_bytes,
    smuggling_shapes,
    upgrades,
)
from nexus.testing.llama_process import LlamaServer, LlamaServerError
from nexus.testing.memory_ledger import MemoryLedger
from nexus.testing.weights import ModelUnavailableError, find_weights
from nexus.testing.wire import Behaviour, ReceivedRequest

__all__ = [
    "SMUGGLED_MODEL",
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
    "HostileAnswer",
    "HostileClient",
    "IdleCrowd",
    "Insert",
    "LlamaServer",
    "LlamaServerError",
    "ManualClock",
    "MemoryLedger",
    "ModelUnavailableError",
    "Moment",
    "NoDone",
    "Page",
    "Raw",
    "ReceivedRequest",
    "Relay",
    "Reset",
    "Shape",
    "SlowReader",
    "Split",
    "Status",
    "Trickle",
    "Where",
    "allow_open_files",
    "bad_bodies",
    "chat_body",
    "chunked_bytes",
    "find_weights",
    "odd_bodies",
    "parse_answers",
    "request_bytes",
    "smuggling_shapes",
    "upgrades",
]
