"""`auto` in the gateway: the chooser, what it learns from receipts, and what it recalls after a restart."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from random import Random

from msgspec import structs

from nexus.app.outcomes import NO_LEDGER
from nexus.config.model import Config
from nexus.core.receipt import LedgerEntry
from nexus.ledger.open import open_ledger
from nexus.ledger.store import LedgerError
from nexus.outcomes.choice.chooser import AdaptiveChooser
from nexus.outcomes.choice.learning import learn_from
from nexus.outcomes.choice.settings import ChoiceSettings
from nexus.outcomes.signals.weights import FOLLOWED_UP

_log = logging.getLogger("nexus.outcomes.choice")
# The evidence of a model fades within some hundred answers; older receipts would change nothing.
_RECALLED = 5_000
_MAX_FOLLOWED = 20_000
_UNJUDGED = "expired"
_LEAST_GAP_SECONDS = 0.005


class Choosing:
    """The chooser behind `auto` and what feeds it.

    Args:
        config: `[outcomes]` and `ledger.url` of it.
        rng: draws explorations.
    """

    def __init__(self, config: Config, rng: Random) -> None:
        settings = config.outcomes
        self._url = config.ledger.url
        self._is_cooling: Callable[[str], bool] | None = None
        self._followed: OrderedDict[str, None] = OrderedDict()
        self._unjudged_at: dict[str, float] = {}
        self._recalling: asyncio.Task[None] | None = None
        self.chooser = AdaptiveChooser(
            ChoiceSettings(
                exploration=settings.exploration,
                quality_weight=settings.quality_weight,
                cost_weight=settings.cost_weight,
                latency_weight=settings.latency_weight,
            ),
            rng,
            is_cooling=self._cools,
        )

    def heed(self, is_cooling: Callable[[str], bool]) -> None:
        """Let `is_cooling` say which models were rate-limited and are to be left alone for now."""
        self._is_cooling = is_cooling

    def _cools(self, model: str) -> bool:
        return self._is_cooling is not None and self._is_cooling(model)

    def receive(self, *entries: LedgerEntry) -> None:
        """Learn from receipts. That a call was followed up may be said before its own, and counts once."""
        followed, unjudged_at = self._followed, self._unjudged_at
        for entry in entries:
            if entry.trace_id in followed:
                del followed[entry.trace_id]
                if entry.signal != FOLLOWED_UP:
                    learn_from(self.chooser, structs.replace(entry, cost_usd=None, latency_ms=0.0))
                continue
            if entry.signal == _UNJUDGED:
                # It tells what an answer cost and how long it took: 200 a second and model are plenty.
                if entry.timestamp - unjudged_at.get(entry.model_id, 0.0) < _LEAST_GAP_SECONDS:
                    continue
                unjudged_at[entry.model_id] = entry.timestamp
            elif entry.signal == FOLLOWED_UP:
                followed[entry.trace_id] = None
                if len(followed) > _MAX_FOLLOWED:
                    followed.popitem(last=False)
            learn_from(self.chooser, entry)

    def start(self) -> None:
        """Learn from the newest receipts of the ledger, beside the work; needs a running event loop."""
        if self._url != NO_LEDGER:
            self._recalling = asyncio.get_running_loop().create_task(self._recall(self._url))

    async def stop(self) -> None:
        """Stop recalling."""
        if self._recalling is not None:
            self._recalling.cancel()
            await asyncio.gather(self._recalling, return_exceptions=True)

    async def _recall(self, url: str) -> None:
        try:
            entries = await asyncio.to_thread(_newest, url)
        except LedgerError as error:
            _log.warning("the choice of models starts without what was learned before: %s", error)
            return
        for entry in entries:
            learn_from(self.chooser, entry)
        _log.info("the choice of models recalls %d receipts", len(entries))


def _newest(url: str) -> list[LedgerEntry]:
    store = open_ledger(url)
    try:
        return store.read(_RECALLED)
    finally:
        store.close()
