"""The product in the simulation: its forwarder, exchanges, router, quality and breakers, in virtual time.

Only what lies behind a socket is simulated: the upstream pool hands requests to simulated backends and gives
their answers back as HTTP heads and server-sent events. Health checks are left out: they would find a dead
server too, but they are the same for every policy.
"""

from collections.abc import Sequence
from random import Random

from bench.routing_sim.engine import Engine
from bench.routing_sim.measures import Tally
from bench.routing_sim.servers import Job, SimBackend
from bench.routing_sim.trace import Arrival
from bench.routing_sim.wiring import Product
from nexus.core.backend import Backend
from nexus.core.outcome import AttemptOutcome, AttemptResult, FailureKind
from nexus.core.request import Needs, Request, Surface
from nexus.proxy.calling import CallHandler, RunningCall
from nexus.proxy.downstream import ClientHeaders
from nexus.proxy.headers import ResponseHead
from nexus.proxy.origin import Origin

MODEL = "m"
_NOBODY = ClientHeaders()
_STREAM = ResponseHead(200, [(b"content-type", b"text/event-stream")])
_FIRST = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
_LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_WHOLE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"length"}]}'
_JSON = (b"content-type", b"application/json")
_ERROR = b'{"error":{"message":"simulated"}}'
_PORT = 9000


class _Upstream:
    """One call on its way: gives what the simulated backend does to the product's attempt."""

    __slots__ = ("_backend", "_handler", "job")

    def __init__(self, backend: SimBackend, handler: CallHandler) -> None:
        self._backend = backend
        self._handler = handler
        self.job: Job | None = None

    def first_token(self) -> None:
        self._handler.on_head(_STREAM)
        self._handler.on_body(_FIRST)
        self._handler.on_read_done()

    def finished(self) -> None:
        self._handler.on_body(_LAST)
        self._handler.on_read_done()
        self._handler.on_end()

    def failed(self, kind: FailureKind, status: int, retry_after: float | None) -> None:
        handler = self._handler
        if not status:
            handler.on_failure(kind, "simulated")
        elif kind is FailureKind.EMPTY:
            handler.on_head(ResponseHead(status, _STREAM.headers))
            handler.on_end()
        else:
            headers = [_JSON]
            if retry_after is not None:
                headers.append((b"retry-after", b"%d" % retry_after))
            handler.on_head(ResponseHead(status, headers))
            handler.on_body(_ERROR)
            handler.on_read_done()
            handler.on_end()

    @property
    def paused(self) -> bool:
        """Never: nothing is buffered."""
        return False

    def cancel(self) -> None:
        if self.job is not None:
            self._backend.cancel(self.job)

    def pause(self) -> None:
        """Nothing is buffered."""

    def resume(self) -> None:
        """Nothing is buffered."""


class _ProbedUpstream(_Upstream):
    """The same for a test of the product's own, which asks for a whole answer."""

    __slots__ = ()

    def first_token(self) -> None:
        """A whole answer has none."""

    def finished(self) -> None:
        self._handler.on_head(ResponseHead(200, [_JSON]))
        self._handler.on_body(_WHOLE)
        self._handler.on_read_done()
        self._handler.on_end()


class _Pool:
    """Stands where the product's upstream pool does."""

    def __init__(self, simulated: "SimulatedGateway") -> None:
        self._simulated = simulated

    def send(self, origin: Origin, data: bytes, handler: CallHandler) -> RunningCall:
        """Hand a request to the simulated backend at this port."""
        simulated = self._simulated
        index = origin.port - _PORT
        backend = simulated.backends[index]
        body = data[data.rindex(b"\r\n\r\n") + 4 :]
        if not body.isdigit():
            return simulated.probe(index, handler)
        arrival = simulated.arrivals[int(body)]
        prompt, output = arrival.prompt_tokens, arrival.output_tokens
        upstream = _Upstream(backend, handler)
        job = Job(prompt, output, arrival.luck[index], arrival.noise[index], upstream)
        upstream.job = job
        simulated.tally.sent(index, simulated.engine.now)
        backend.submit(job)
        return upstream

    def is_connected(self, origin: Origin) -> bool:  # noqa: ARG002 - the product's protocol
        """What open connections tell is not simulated."""
        return False


class _Client:
    """The client's side of one request."""

    __slots__ = ("_arrival", "_engine", "_tally", "_ttft")

    def __init__(self, arrival: Arrival, engine: Engine, tally: Tally) -> None:
        self._arrival = arrival
        self._engine = engine
        self._tally = tally
        self._ttft = 0.0

    def reply(self, status: int, headers: bytes, body: bytes) -> None:  # noqa: ARG002 - the product's protocol
        self._lose()

    def start(self, status: int, headers: bytes) -> None:  # noqa: ARG002 - the product's protocol
        self._ttft = self._engine.now - self._arrival.moment

    def write(self, data: bytes) -> None:
        """Only its time matters."""

    def end(self, *, close: bool = False) -> None:
        if close:
            self._lose()
        else:
            self._tally.served(self._arrival, self._ttft)

    def fault(self) -> None:
        raise RuntimeError("the gateway failed on a request")

    def abort(self) -> None:
        self._lose()

    def _lose(self) -> None:
        self._tally.lost(self._arrival, self._engine.now - self._arrival.moment)


class SimulatedGateway:
    """One replica of the product."""

    def __init__(
        self,
        engine: Engine,
        backends: list[SimBackend],
        arrivals: list[Arrival],
        tally: Tally,
        *,
        product: Product,
        members: list[int],
        seed: str,
        until: float,
    ) -> None:
        self.engine = engine
        self.backends = backends
        self.arrivals = arrivals
        self.tally = tally
        self.rng = Random(f"probe/{seed}")
        self._parts = product.wire(
            tuple(_backend(index) for index in members),
            clock=engine,
            pool=_Pool(self),
            rng=Random(seed),
            recorder=self._record,
        )
        for seconds, action in self._parts.periodics:
            engine.every(seconds, action, until)

    def join(self, index: int) -> None:
        """A backend is added to the configuration."""
        self._parts.fleet.add(_backend(index))

    def submit(self, arrival: Arrival) -> None:
        """A client sends its request."""
        request = Request(
            str(arrival.number),
            Surface.CHAT,
            MODEL,
            Needs(stream=True, input_tokens=arrival.prompt_tokens),
            arrival.moment,
        )
        body = b"%d" % arrival.number
        client = _Client(arrival, self.engine, self.tally)
        self._parts.forwarder.forward(request, body, _NOBODY, client, path="/v1/chat/completions")

    def probe(self, index: int, handler: CallHandler) -> _Upstream:
        """A test of the product's own goes to a backend: one token, counted nowhere."""
        upstream = _ProbedUpstream(self.backends[index], handler)
        upstream.job = Job(1, 1, self.rng.random(), 1.0, upstream)
        self.backends[index].submit(upstream.job)
        return upstream

    def _record(self, outcomes: Sequence[AttemptOutcome]) -> None:
        for outcome in outcomes:
            if outcome.result is not AttemptResult.SUCCESS:
                self.tally.spoiled(int(outcome.backend_id))


def _backend(index: int) -> Backend:
    return Backend(str(index), f"backend {index}", f"http://127.0.0.1:{_PORT + index}", models=(MODEL,))
