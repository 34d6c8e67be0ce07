"""Takes a changed configuration into the running gateway, on SIGHUP or when the file has changed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from nexus.config.errors import ConfigError
from nexus.config.load import LoadedConfig, restart_needed
from nexus.config.model import Config
from nexus.core.errors import NexusError

_log = logging.getLogger("nexus.app.reload")

Stamp = tuple[int, int, int] | None


class Reloader:
    """Reads the configuration again when asked to, or when its file has changed and then stayed the same.

    A configuration with a mistake is refused whole: every mistake is logged, and the running one stays. So is
    one that can't be applied.

    Args:
        loaded: the running configuration.
        apply: makes a valid configuration the running one.
    """

    def __init__(self, loaded: LoadedConfig, apply: Callable[[Config], Awaitable[None]]) -> None:
        self._loaded = loaded
        self._apply = apply
        self._requested = False
        self._stamp = stamp_of(loaded.file)
        self._seen = self._stamp

    def request(self) -> None:
        """Reload at the next tick, whether or not the file has changed."""
        self._requested = True

    async def tick(self) -> None:
        """Look for a change. Call it a few times a second."""
        stamp = stamp_of(self._loaded.file)
        settled = stamp == self._seen
        self._seen = stamp
        changed = settled and stamp is not None and stamp != self._stamp
        if not (changed or self._requested):
            return
        self._requested = False
        self._stamp = stamp
        await self._reload()

    async def _reload(self) -> None:
        again = self._loaded.again
        if again is None:
            return
        try:
            loaded = await asyncio.to_thread(again)
            await self._apply(loaded.config)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("the new configuration has a mistake: %s", problem)
            _log.error("the configuration was not changed; the running one stays")
            return
        except (NexusError, OSError) as error:
            _log.error("the configuration was not changed: %s", error)  # it is the user's to mend
            return
        fixed = restart_needed(self._loaded.config, loaded.config)
        if fixed:
            _log.warning("a restart is needed for the new value of: %s", ", ".join(fixed))
        self._loaded = loaded
        _log.info("the configuration was reloaded")


def stamp_of(file: Path | None) -> Stamp:
    """What changes when a file changes; None where there is none."""
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
