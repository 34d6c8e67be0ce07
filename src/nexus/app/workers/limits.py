"""Rate limits over all workers: each counts what the others have granted a moment later."""

from collections.abc import Mapping

from nexus.server.rate_limits import Buckets, Grant, RateLimitSettings


class NotedBuckets(Buckets):
    """Buckets that note by name how many requests were granted here (less those given back)."""

    def __init__(self, settings: RateLimitSettings) -> None:
        super().__init__(settings)
        self._granted: dict[str, int] = {}

    def take(self, name: str, now: float) -> Grant:
        """One request; it is counted where it is granted, also when it has to wait."""
        grant = super().take(name, now)
        if grant.granted:
            self._granted[name] = self._granted.get(name, 0) + 1
        return grant

    def give_back(self, name: str) -> None:
        """A request that was granted was not made after all."""
        super().give_back(name)
        self._granted[name] = self._granted.get(name, 0) - 1

    def begin(self, filling: Mapping[str, float], now: float) -> None:
        """Start with what another worker knows: seconds until each bucket is full."""
        for name, seconds in filling.items():
            self._full_at[name] = now + seconds

    def granted(self) -> dict[str, int]:
        """What was granted since the last call."""
        granted, self._granted = self._granted, {}
        return granted
