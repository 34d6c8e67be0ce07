"""What `expected_time` says of a cost, and of a prompt that somebody has cached."""

from collections.abc import Iterator

from msgspec import Struct


class Warm(Struct, frozen=True, gc=False):
    """Who has a share of the prompt cached, and its place among the options."""

    index: int
    backend_id: str
    share: float


class CostTerms(Struct, frozen=True, gc=False):
    """The terms of one cost, in the order in which they are applied; iterating gives pairs of name and value.

    Every request has them and few are looked at, so they are pairs only then.
    """

    expected_s: float
    slowness: float
    pending: int
    limit: float
    failure_share: float
    fleet_failure_share: float
    penalty: float
    ramp: float
    noise: float

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return ((name, getattr(self, name)) for name in self.__struct_fields__)
