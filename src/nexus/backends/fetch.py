"""The one thing that checks and discovery need from the network: a GET with a deadline."""

from collections.abc import Awaitable
from typing import Protocol

from msgspec import Struct

from nexus.core.errors import NexusError


class FetchResult(Struct, frozen=True):
    """An answer, whatever its status."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status // 100 == 2  # noqa: PLR2004 - the class of the status


class FetchError(NexusError):
    """No answer was had; the message says why: refused, timed out, unknown name, ..."""


class Fetch(Protocol):
    """`await fetch(url, headers, timeout_seconds)` is the answer to a GET of an absolute URL.

    The deadline covers everything from connecting to the last byte. Redirects are not followed, a body of
    more than a few megabytes is an error, and cancelling leaves nothing behind.

    Raises:
        FetchError: there was no complete answer in time.
    """

    def __call__(
        self, url: str, headers: tuple[tuple[str, str], ...], timeout_seconds: float, /
    ) -> Awaitable[FetchResult]:
        """See the class."""
        ...
