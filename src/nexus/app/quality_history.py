"""Keeps the quality of backends over a restart: one that was bad a minute ago is still bad."""

import asyncio
import logging
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from nexus.app.outcomes import NO_LEDGER
from nexus.config.model import Config
from nexus.core.clock import Clock
from nexus.core.quality import AgentFigures
from nexus.ledger.shared_file import replace_file
from nexus.quality import QualityMetricsStore
from nexus.quality.history import AgentHistory
from nexus.server.service import Periodic

_log = logging.getLogger("nexus.quality")
HISTORY_FILE = "quality.json"
_SAVE_SECONDS = 5.0
_DAY_SECONDS = 86_400.0


class _Content(Struct, frozen=True):
    """The form of the file; `saved_at` is Unix time, each of `agents` an `AgentHistory`."""

    saved_at: float
    agents: list[msgspec.Raw]
    version: int = 1


class QualityHistory:
    """Writes the windows of a store to a file every few seconds, and reads them back at the start.

    It does so where a ledger is configured; without one nothing is read or written. Nothing is written while
    `writes` is false, because another process does.
    A crash loses what came after the last recompute and write. What can't be read is moved aside with a
    warning; what can't be written is reported once.
    """

    def __init__(self, store: QualityMetricsStore, config: Config, clock: Clock) -> None:
        self.writes = True
        self._store = store
        self._path = config.data_dir / HISTORY_FILE
        self._enabled = config.ledger.url != NO_LEDGER
        self._clock = clock
        self._written: Mapping[str, AgentFigures] = {}
        self._failed = False

    def periodics(self) -> tuple[Periodic, ...]:
        """The background work."""
        return (Periodic("quality history", _SAVE_SECONDS, self.save),) if self._enabled else ()

    def load(self) -> bool:
        """Take over what the file holds, unless it is older than a day; whether anything was taken over."""
        if not self._enabled:
            return False
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=_Content)
            elapsed = max(0.0, self._clock.time() - content.saved_at)
            if elapsed < _DAY_SECONDS:
                decode = msgspec.json.Decoder(AgentHistory).decode
                self._store.restore([decode(agent) for agent in content.agents], elapsed)
                return bool(content.agents)
        except FileNotFoundError:
            return False
        except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
            self._set_aside(error)
        except OSError as error:
            _log.warning("quality history can't be read from %s (%s)", self._path, error.strerror)
        return False

    async def save(self) -> None:
        """Write the file in another thread, if the published figures have changed."""
        figures = self._store.snapshot()
        if self.writes and figures != self._written:
            await asyncio.to_thread(self._write)
            self._written = figures

    async def stop(self) -> None:
        """Write everything for the last time."""
        if self._enabled and self.writes:
            await asyncio.to_thread(self._write)

    def _write(self) -> None:
        # Each agent's is encoded as it comes: together they are megabytes, every few seconds.
        encoder = msgspec.json.Encoder()
        history = [msgspec.Raw(encoder.encode(agent)) for agent in self._store.history()]
        if not history:
            return
        try:
            replace_file(self._path, encoder.encode(_Content(self._clock.time(), history)))
        except OSError as error:
            if not self._failed:
                _log.warning("quality history can't be written to %s (%s)", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(f"{HISTORY_FILE}.corrupt-{self._clock.time():.0f}")
        try:
            self._path.rename(aside)
        except OSError as failure:
            _log.warning("%s is damaged (%s) and can't be moved: %s", self._path, error, failure.strerror)
        else:
            _log.warning("%s is damaged (%s): it was moved to %s", self._path, error, aside)
