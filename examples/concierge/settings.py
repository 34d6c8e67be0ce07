"""The settings of the service, from environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nexus.resilience import CircuitBreakerConfig, RateLimiter

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Settings:
    """Where the gateway and the documents are, and how patient the service is. Times are in seconds."""

    gateway_url: str
    gateway_key: str
    model: str
    index: Path
    retrieval_breaker: CircuitBreakerConfig
    llm_breaker: CircuitBreakerConfig
    retrieval_seconds: float
    tool_seconds: float
    llm_seconds: float


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force.

    Raises:
        ValueError: a variable does not hold a number; the message names it.
    """
    return Settings(
        gateway_url=environ.get("NEXUS_URL", "http://127.0.0.1:8080").rstrip("/"),
        gateway_key=environ.get("NEXUS_API_KEY", "none"),
        model=environ.get("CONCIERGE_MODEL", "smollm2"),
        index=Path(environ.get("CONCIERGE_INDEX", HERE / "concierge.db")),
        retrieval_breaker=_breaker("RAG", failures=5, seconds=30.0, environ=environ),
        llm_breaker=_breaker("LLM", failures=3, seconds=60.0, environ=environ),
        retrieval_seconds=_seconds(environ, "RAG_TIMEOUT_SECONDS", 5.0),
        tool_seconds=_seconds(environ, "TOOL_TIMEOUT_SECONDS", 5.0),
        llm_seconds=_seconds(environ, "LLM_TIMEOUT_SECONDS", 30.0),
    )


def rate_limiter(environ: Mapping[str, str] = os.environ) -> RateLimiter:
    """The limit on chat requests: `RATE_LIMIT_PER_SECOND` and `RATE_LIMIT_BURST`."""
    return RateLimiter.from_env(environ=environ)


def _breaker(name: str, *, failures: int, seconds: float, environ: Mapping[str, str]) -> CircuitBreakerConfig:
    defaults = {f"{name}_CB_FAILURE_THRESHOLD": str(failures), f"{name}_CB_TIMEOUT_SECONDS": str(seconds)}
    return CircuitBreakerConfig.from_env(name, environ={**defaults, **environ})


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, got {text!r}") from None
    if seconds <= 0:
        raise ValueError(f"{name} must be over 0, got {text!r}")
    return seconds
