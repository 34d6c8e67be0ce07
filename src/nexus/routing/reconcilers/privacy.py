"""Keeps restricted requests on backends whose data stays with the owner."""

from typing import Final

from nexus.routing.intent import Intent
from nexus.routing.plan import Leg

TITLE: Final = "PrivacyReconciler"


class PrivacyReconciler:
    """Excludes backends of the open zone from requests that a policy or a header restricts."""

    def name(self) -> str:
        """`privacy`."""
        return "privacy"

    def concerns(self, leg: Leg) -> bool:
        """Only where the model is restricted and an open backend serves it."""
        return leg.restricted and leg.plan.has_open

    def reconcile(self, intent: Intent) -> None:
        """Drop open-zone candidates of a restricted request."""
        if not intent.restricted or not intent.plan.has_open:
            return
        kept = []
        for option in intent.candidates:
            if option.is_open:
                intent.reject(
                    option,
                    TITLE,
                    "Zone open is not allowed for a restricted request",
                    "Use a backend of the restricted zone, or change the privacy policy or header",
                )
            else:
                kept.append(option)
        intent.candidates = kept
