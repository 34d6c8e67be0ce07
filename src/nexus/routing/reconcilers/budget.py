"""Keeps what cloud backends cost within the month's budget."""

import logging
from typing import Final

from nexus.config.model import BudgetConfig
from nexus.core.request import Surface
from nexus.routing.intent import Intent
from nexus.routing.plan import Leg

TITLE: Final = "BudgetReconciler"
ASSUMED_OUTPUT_TOKENS: Final = 512
SOFT_LIMIT_FACTOR: Final = 0.5

_log: Final = logging.getLogger("nexus.routing.reconciler.budget")


class BudgetReconciler:
    """Estimates costs, halves cloud scores from the soft limit on, and acts at the hard limit.

    The estimate is the price times the estimated input tokens and the output tokens the client allows (512
    where it does not say; none for embeddings). A backend without a known price has no estimate.
    """

    def __init__(self, budget: BudgetConfig) -> None:
        self._limit = budget.monthly_limit_usd
        self._soft = (budget.monthly_limit_usd or 0.0) * budget.soft_limit_percent / 100
        self._soft_percent = budget.soft_limit_percent
        self._action = budget.hard_limit_action
        self._was_over = False

    def name(self) -> str:
        """`budget`."""
        return "budget"

    def concerns(self, leg: Leg) -> bool:
        """Only with a limit, or where a price is known."""
        return self._limit is not None or leg.plan.has_price

    def reconcile(self, intent: Intent) -> None:
        """Note the estimated cost of each priced candidate and apply the limits."""
        if intent.plan.has_price:
            _estimate(intent)
        limit = self._limit
        if limit is None:
            return
        spent = intent.snapshot.spend.month_usd
        if spent < self._soft:
            self._was_over = False
            return
        if spent >= limit and self._action != "warn":
            self._block(intent, spent, limit)
        self._discourage_cloud(intent)
        self._warn_once(spent, limit)

    def _block(self, intent: Intent, spent: float, limit: float) -> None:
        cloud_only = self._action == "block_cloud"
        reason = f"Spent ${spent:.2f} this month, the limit is ${limit:.2f} ({self._action})"
        action = "Raise routing.budget.monthly_limit_usd, or wait for the next month"
        kept = []
        for option in intent.candidates:
            if option.is_cloud or not cloud_only:
                intent.reject(option, TITLE, reason, action)
            else:
                kept.append(option)
        intent.candidates = kept

    def _discourage_cloud(self, intent: Intent) -> None:
        if intent.plan.has_cloud:
            intent.factors = {o.backend_id: SOFT_LIMIT_FACTOR for o in intent.candidates if o.is_cloud}

    def _warn_once(self, spent: float, limit: float) -> None:
        """One log line each time spending passes the soft limit or the hard one, not one per request."""
        over_hard = spent >= limit
        if over_hard and not self._was_over:
            _log.warning(
                "Spent $%.2f this month, the limit is $%.2f (hard_limit_action = %s)",
                spent,
                limit,
                self._action,
            )
        self._was_over = over_hard


def _estimate(intent: Intent) -> None:
    needs = intent.request.needs
    output = needs.max_output_tokens
    if intent.request.surface is Surface.EMBEDDING:
        output = 0
    elif output is None:
        output = ASSUMED_OUTPUT_TOKENS
    intent.costs = {
        option.backend_id: option.price.cost(needs.input_tokens, output)
        for option in intent.candidates
        if option.price is not None
    }
