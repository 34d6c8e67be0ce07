"""What a client's headers say: the hints for routing, and what goes on upstream."""

from collections.abc import Iterable

from msgspec import Struct

from nexus.core.request import Priority, Task
from nexus.proxy.downstream import ClientHeaders
from nexus.server.body import BodyError

# Everything else that a client sends goes upstream. These are about the client's own connection, or are the
# gateway's: a compressed answer, for one, could not be checked on its way through.
_NOT_FORWARDED = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"accept-encoding",
        b"proxy-authorization",
        b"proxy-connection",
        b"cookie",
        b"user-agent",
        b"x-api-key",
    }
)
_JSON = b"application/json"
_MAX_TOKEN = 128


class Hints(Struct, gc=False):
    """What the client's headers say. `relayed` are those that go upstream or back.

    `has_own`: at least one of the headers is the gateway's own.
    """

    has_own: bool = False
    restricted: bool = False
    strict: bool = False
    flexible: bool = False
    priority: str = ""
    task: str = ""
    session: str | None = None
    project: str | None = None
    content_type: bytes = _JSON
    privacy: str = ""
    relayed: ClientHeaders = ClientHeaders()


def read_hints(headers: Iterable[tuple[bytes, bytes]]) -> Hints:
    """Sort a request's headers (names in lower case) by what they are for."""
    hints = Hints()
    forwarded: list[bytes] = []
    authorization, request_id = b"", ""
    for name, value in headers:
        if name == b"content-type":
            hints.content_type = value
        elif name in _NOT_FORWARDED:
            continue
        elif name == b"authorization":
            authorization = b"Authorization: %b\r\n" % value
        elif name == b"x-request-id":
            request_id = value.decode("latin-1")[:_MAX_TOKEN]
        elif name.startswith(b"x-nexus-"):
            hints.has_own = True
            _read_own_header(hints, name, value.decode("latin-1").strip())
        else:
            forwarded.append(b"%b: %b\r\n" % (name, value))
    hints.relayed = ClientHeaders(b"".join(forwarded), authorization, request_id)
    return hints


def _read_own_header(hints: Hints, name: bytes, value: str) -> None:
    match name:
        case b"x-nexus-privacy":
            hints.privacy = value.lower()
            hints.restricted = hints.privacy == "restricted"
        case b"x-nexus-strict":
            hints.strict = value.lower() not in {"false", "0"}
        case b"x-nexus-flexible":
            hints.flexible = value.lower() not in {"false", "0"}
        case b"x-nexus-priority":
            hints.priority = value.lower()
        case b"x-nexus-task":
            hints.task = value.lower()
        case b"x-nexus-session":
            hints.session = value[:_MAX_TOKEN]
        case b"x-nexus-project":
            hints.project = value[:_MAX_TOKEN]
        case _:
            pass  # a header of a later version, or of somebody else's


def check_hints(hints: Hints) -> None:
    """Refuse what no hint may say.

    Raises:
        BodyError: one of them does.
    """
    if hints.priority and hints.priority not in set(Priority):
        raise BodyError("The header X-Nexus-Priority must be high or normal.")
    if hints.task and hints.task not in set(Task):
        raise BodyError(f"The header X-Nexus-Task must be one of {', '.join(Task)}.")
    if hints.privacy not in {"", "restricted", "open"}:
        # A typing error here would otherwise send private text to an open zone.
        raise BodyError("The header X-Nexus-Privacy must be restricted; it can only tighten.")


def flexible(hints: Hints) -> bool | None:
    """Whether higher tiers may stand in; None where the client said nothing. Strict wins."""
    if hints.strict:
        return False
    return True if hints.flexible else None


def is_json(content_type: bytes) -> bool:
    """Whether a content type is JSON; none at all is taken for JSON."""
    media = content_type.partition(b";")[0].strip().lower()
    return media == _JSON or media.endswith(b"+json") or not media
