"""How a tracker fares."""

from msgspec import Struct


class TrackerFigures(Struct, frozen=True):
    """How many calls are pending, were given up as abandoned, and how many receipts found no room.

    `resolutions` counts the calls by the signal that resolved them and its word: success, failure, unknown.
    """

    pending: int
    abandoned: int
    dropped_receipts: int
    resolutions: dict[tuple[str, str], int]
