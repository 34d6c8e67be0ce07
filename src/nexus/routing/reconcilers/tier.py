"""Keeps requests from being answered by a less capable backend than they ask for."""

from collections.abc import Sequence
from typing import Final

from nexus.routing.availability import is_available
from nexus.routing.intent import Intent
from nexus.routing.plan import Leg, Option

TITLE: Final = "TierReconciler"


class TierReconciler:
    """Excludes tiers below the required one.

    With `X-Nexus-Flexible` the exact tier is preferred and higher ones are used only where no backend of the
    exact tier is available.
    """

    def __init__(self, *, breakers: bool) -> None:
        self._breakers = breakers

    def name(self) -> str:
        """`tier`."""
        return "tier"

    def concerns(self, leg: Leg) -> bool:
        """Only where a tier is demanded."""
        return leg.required_tier is not None

    def reconcile(self, intent: Intent) -> None:
        """Drop candidates of a tier that is not allowed."""
        required = intent.required_tier
        if required is None:
            return
        flexible = intent.request.constraints.flexible is True
        lowest = intent.plan.lowest_tier
        if not flexible and lowest is not None and lowest >= required:
            return
        intent.candidates = kept = self._drop_lower(intent, required)
        if flexible and any(
            option.tier == required and is_available(option, intent.now, breakers=self._breakers)
            for option in kept
        ):
            intent.candidates = self._drop_higher(intent, required)

    def _drop_lower(self, intent: Intent, required: int) -> Sequence[Option]:
        kept = []
        for option in intent.candidates:
            if option.tier < required:
                intent.reject(
                    option,
                    TITLE,
                    f"Tier {option.tier} is below the required tier {required}",
                    f"Add a backend of tier {required} or higher, or lower min_tier of the policy",
                )
            else:
                kept.append(option)
        return kept

    def _drop_higher(self, intent: Intent, required: int) -> Sequence[Option]:
        kept = []
        for option in intent.candidates:
            if option.tier > required:
                intent.reject(
                    option,
                    TITLE,
                    f"Tier {option.tier} is above tier {required}, which is available",
                    "Send X-Nexus-Strict to allow every tier from the required one up",
                )
            else:
                kept.append(option)
        return kept
