"""Which backend has the beginning of a prompt in its cache, as far as what was sent there tells. No I/O.

Model servers keep the work they did on a prompt and skip it for the next one that begins alike. A request
brings keys of ever longer beginnings (`Request.prefixes`), and perhaps the name of a session. What a backend
answered is remembered under these keys; the longest one known says who has most of the work done already.
"""

from collections import OrderedDict
from typing import Final

from nexus.core.request import Request

CAPACITY: Final = 16_384
LIFETIME_SECONDS: Final = 900.0
FIRST_PREFIX_BYTES: Final = 1024
"""What the first key covers; each further one covers twice as much."""

_BYTES_PER_TOKEN: Final = 4


class PrefixAffinity:
    """Remembers who answered what began how, for a while.

    Args:
        capacity: keys that are remembered; the ones not used for longest make room.
        lifetime_seconds: how long a key is good for. Caches of model servers are small, so it is short.
    """

    def __init__(self, capacity: int = CAPACITY, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self._capacity = capacity
        self._lifetime = lifetime_seconds
        self._known: OrderedDict[tuple[str, int | str], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, request: Request, model: str, backend_id: str, now: float) -> None:
        """A backend has answered this request with this model; `now` is monotonic seconds."""
        known = self._known
        for key in _keys(request, model):
            known[key] = (backend_id, now)
            known.move_to_end(key)
        while len(known) > self._capacity:
            known.popitem(last=False)

    def find(self, request: Request, model: str, now: float) -> tuple[str, float] | None:
        """The backend that has most of the prompt cached, and the share of it (0 to 1); None: nobody has.

        A session counts as the whole prompt: what it asks next begins with what it asked before.
        """
        prefixes = request.prefixes
        oldest = now - self._lifetime
        for index in range(len(prefixes) - 1, -1, -1):
            backend_id, at = self._known.get((model, prefixes[index]), _NOBODY)
            if at >= oldest:
                cached = FIRST_PREFIX_BYTES << index
                size = _BYTES_PER_TOKEN * request.needs.input_tokens
                return backend_id, min(1.0, cached / size) if size else 1.0
        if request.session is not None:
            backend_id, at = self._known.get((model, request.session), _NOBODY)
            if at >= oldest:
                return backend_id, 1.0
        return None


_NOBODY = ("", float("-inf"))


def _keys(request: Request, model: str) -> list[tuple[str, int | str]]:
    keys: list[tuple[str, int | str]] = [(model, prefix) for prefix in request.prefixes]
    if request.session is not None:
        keys.append((model, request.session))
    return keys
