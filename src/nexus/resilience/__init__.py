"""Circuit breaker, rate limiter, retries, timeouts, input checks and a logger, for any Python service."""

from nexus.resilience.breaker import CircuitBreaker, CircuitOpenError
from nexus.resilience.breaker_config import BreakerState, CircuitBreakerConfig
from nexus.resilience.logger import StructuredLogger, get_logger, trace_context
from nexus.resilience.rate_limiter import RateLimiter
from nexus.resilience.retry import RetryConfig, retry_with_backoff
from nexus.resilience.timeout import TimeLimit, TimeoutExceededError, with_timeout
from nexus.resilience.validation import (
    ValidationError,
    validate_session_id,
    validate_user_id,
    validate_user_input,
)

__all__ = [
    "BreakerState",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitOpenError",
    "RateLimiter",
    "RetryConfig",
    "StructuredLogger",
    "TimeLimit",
    "TimeoutExceededError",
    "ValidationError",
    "get_logger",
    "retry_with_backoff",
    "trace_context",
    "validate_session_id",
    "validate_user_id",
    "validate_user_input",
    "with_timeout",
]
