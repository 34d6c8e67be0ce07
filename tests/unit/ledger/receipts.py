"""Receipts for tests."""

from typing import Any

from nexus.core.receipt import LedgerEntry
from nexus.core.request import Task

NEW_YEAR_2026 = 1_767_225_600.0


def receipt(number: int = 0, **fields: Any) -> LedgerEntry:
    """A receipt known by its number."""
    plain: dict[str, Any] = {
        "trace_id": f"trace-{number}",
        "model_id": "llama3",
        "task": Task.CODE,
        "routing_reason": "smart",
        "latency_ms": 812.5,
        "input_tokens": 20,
        "output_tokens": 40,
        "attempts": 1,
        "timestamp": NEW_YEAR_2026 + number,
    }
    return LedgerEntry(**plain | fields)


def receipts(count: int, start: int = 0) -> list[LedgerEntry]:
    """Receipts with numbers from `start`."""
    return [receipt(number) for number in range(start, start + count)]


def full_receipt(number: int = 0) -> LedgerEntry:
    """A receipt with every field."""
    return receipt(
        number,
        backend_id="gpu-box",
        success=False,
        quality=0.1 + 0.2,
        error="upstream said 500",
        project_id="naïve \u2028 \U0001f980",
        intent="fix",
        ttft_ms=1e-7,
        cost_usd=0.0,
        propensity=0.95,
        candidates=("llama3", "qwen"),
        signal="explicit",
    )
