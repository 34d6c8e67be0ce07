"""Circuit breaker, rate limiter, retries, timeouts, input checks and a logger, for any Python service."""

from nexus.resilience.breaker import CircuitBreaker, CircuitOpenError
from nexus.resilience.breaker_config import BreakerState, CircuitBreakerConfig
from nexus.resilience.rate_limiter import RateLimiter

__all__ = [
    "BreakerState",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitOpenError",
    "RateLimiter",
]
