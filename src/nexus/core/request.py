"""One client request, as routing sees it: who asks for which model, what it needs, what it forbids."""

from enum import StrEnum

from msgspec import Struct


class Surface(StrEnum):
    """Which inference endpoint was called."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"


class Task(StrEnum):
    """What kind of work a request is; profiles are kept per model and task."""

    GENERATE = "generate"
    EMBED = "embed"
    CLASSIFY = "classify"
    CODE = "code"
    REASONING = "reasoning"


class Priority(StrEnum):
    """Which of the two queues a request waits in."""

    HIGH = "high"
    NORMAL = "normal"


class Needs(Struct, frozen=True, gc=False):
    """What a backend must be able to do to answer this request.

    `input_tokens` is an estimate made from the length of the text; `max_output_tokens` is what the client
    asked for, or None.
    """

    vision: bool = False
    tools: bool = False
    json_mode: bool = False
    stream: bool = False
    input_tokens: int = 0
    max_output_tokens: int | None = None


class Constraints(Struct, frozen=True, gc=False, array_like=True):
    """What the client forbids by header. They hold for every retry and fallback of the request.

    `flexible` is True or False where a header said so, None where the default applies.
    """

    restricted: bool = False
    flexible: bool | None = None


class Request(Struct, frozen=True, gc=False, array_like=True):
    """One request at an inference endpoint, without what it says: the body travels beside it as bytes.

    `received_at` is a monotonic reading in seconds. `prefixes` are keys of ever longer beginnings of the
    prompt, shortest first; a short prompt has none.
    """

    trace_id: str
    surface: Surface
    model: str
    needs: Needs
    received_at: float
    constraints: Constraints = Constraints()
    task: Task = Task.GENERATE
    priority: Priority = Priority.NORMAL
    session: str | None = None
    project: str | None = None
    client: str = ""
    prefixes: tuple[int, ...] = ()
