"""Leaves out the backends that serve the model and can't do what the request needs."""

from typing import Final

from nexus.core.request import Needs, Surface
from nexus.routing.intent import Intent
from nexus.routing.plan import NO_LIMIT, Leg, Option

TITLE: Final = "RequestAnalyzer"
_EMBEDDING: Final = Surface.EMBEDDING  # members of an enumeration are looked up slowly


class RequestAnalyzer:
    """Keeps the backends that have the abilities asked for, and enough context.

    What a backend did not say of its model is not held against it.
    """

    def name(self) -> str:
        """`analyzer`."""
        return "analyzer"

    def concerns(self, leg: Leg) -> bool:
        """Only where a backend has said what it can't do, or how long its context is."""
        return leg.plan.least_context != NO_LIMIT or leg.plan.lacks_ability

    def reconcile(self, intent: Intent) -> None:
        """Drop the candidates that are not able to answer."""
        plan = intent.plan
        request = intent.request
        needs = request.needs
        needed = needs.input_tokens + (needs.max_output_tokens or 0)
        special = needs.vision or needs.tools or needs.json_mode or request.surface is _EMBEDDING
        if needed <= plan.least_context and not (special and plan.lacks_ability):
            return
        kept = []
        for option in plan.options:
            objection = _missing_ability(option, request.surface, needs) or _short_context(option, needs)
            if objection is None:
                kept.append(option)
            else:
                intent.reject(option, TITLE, *objection)
        intent.candidates = kept


def _missing_ability(option: Option, surface: Surface, needs: Needs) -> tuple[str, str] | None:
    info = option.info
    checks = (
        (needs.vision, info.vision, "images"),
        (needs.tools, info.tools, "tools"),
        (needs.json_mode, info.json_mode, "JSON mode"),
        (surface is Surface.EMBEDDING, info.embedding, "embeddings"),
    )
    for needed, able, what in checks:
        if needed and able is False:
            reason = f'Model "{option.model}" does not support {what} on this backend'
            return reason, f"Ask for a model that supports {what}, or send the request without them"
    return None


def _short_context(option: Option, needs: Needs) -> tuple[str, str] | None:
    length = option.info.context_length
    output = needs.max_output_tokens or 0
    needed = needs.input_tokens + output
    if length is None or needed <= length:
        return None
    reason = (
        f"Context of {length} tokens is too short for {needed} "
        f"(about {needs.input_tokens} input and {output} output)"
    )
    return reason, "Shorten the prompt, ask for fewer output tokens, or use a model with a longer context"
