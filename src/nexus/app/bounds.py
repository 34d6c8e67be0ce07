"""Settings as the parts of the gateway want them."""

import os

from nexus.config.model import BreakerSettings, Config, QualitySettings
from nexus.proxy.limits import ProxyLimits
from nexus.quality import QualityConfig
from nexus.quality.guard_rules import GuardRules
from nexus.resilience.breaker_config import CircuitBreakerConfig


def quality_config(settings: QualitySettings) -> QualityConfig:
    """The rule and the limits of the quality store."""
    return QualityConfig(
        error_rate_threshold=settings.error_rate_threshold,
        ttft_penalty_threshold_ms=settings.ttft_penalty_threshold_ms,
        metrics_interval_seconds=settings.metrics_interval_seconds,
        min_samples=settings.min_samples,
    )


def queue_bounds(config: Config) -> tuple[int, float]:
    """How many may wait (0: nobody), and how long."""
    return config.queue.max_size if config.queue.enabled else 0, config.queue.max_wait_seconds


def proxy_limits(config: Config) -> ProxyLimits:
    """The bounds of exchanges."""
    return ProxyLimits(
        timeouts=config.timeouts,
        max_retries=config.retry.max_retries,
        try_degraded=config.quality.on_all_degraded == "include",
        recheck_seconds=min(config.quality.metrics_interval_seconds, config.health_check.interval_seconds),
    )


def breaker_config(settings: BreakerSettings) -> CircuitBreakerConfig:
    """When breakers open and close."""
    return CircuitBreakerConfig(
        failure_threshold=settings.failure_threshold,
        success_threshold=settings.success_threshold,
        timeout_seconds=settings.timeout_seconds,
        first_timeout_seconds=min(settings.first_timeout_seconds, settings.timeout_seconds),
        max_half_open=settings.max_half_open,
    )


def guard_rules(breaker: BreakerSettings, quality: QualitySettings) -> GuardRules:
    """When the fast path takes a backend out, by the settings."""
    judged = quality.enabled and quality.error_rate_threshold < 1.0
    return GuardRules(
        failure_threshold=breaker.failure_threshold,
        error_rate_threshold=quality.error_rate_threshold if judged else None,
    )


def api_keys(variable: str) -> tuple[str, ...]:
    """The keys in the variable of this name; none where there is no name."""
    keys = os.environ.get(variable, "") if variable else ""
    return tuple(key.strip() for key in keys.split(",") if key.strip())
