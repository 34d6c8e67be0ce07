"""Whether a backend could take an attempt, as far as it is not about being full."""

from nexus.routing.plan import Option


def breaker_holds(option: Option) -> bool:
    """Whether the breaker would refuse a call now."""
    breaker = option.live.breaker
    return breaker is not None and not breaker.is_closed and not breaker.permits()


def is_available(option: Option, now: float, *, breakers: bool) -> bool:
    """Whether health checks, 429 pacing and (with `breakers`) the breaker leave it usable.

    A backend at its concurrency limit is available: it takes a request as soon as another ends.
    """
    if option.unhealthy or option.live.blocked_until > now:
        return False
    return not (breakers and breaker_holds(option))
