"""What the edge may let clients do, and what it says of a request that it refused."""

from msgspec import Struct


class EdgeLimits(Struct, frozen=True):
    """Bounds on what a client may do; times in seconds."""

    max_body_bytes: int
    header_timeout_seconds: float
    body_timeout_seconds: float


class Unrouted(Struct, frozen=True, gc=False):
    """A request at an inference path that was refused before anything of it was read as such."""

    status: int
    code: str
    path: str
    trace_id: str
    client: str
