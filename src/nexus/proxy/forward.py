"""The front of the hot path: takes requests on and keeps their exchanges to their deadlines."""

from nexus.core.request import Request
from nexus.proxy.context import ProxyContext
from nexus.proxy.downstream import ClientHeaders, Downstream
from nexus.proxy.exchange import Exchange


class Forwarder:
    """Starts exchanges, and ends what takes too long. `active` holds those not yet answered in full."""

    def __init__(self, context: ProxyContext) -> None:
        self.context = context
        self.active: set[Exchange] = set()

    def forward(
        self, request: Request, body: bytes, client: ClientHeaders, downstream: Downstream, *, path: str
    ) -> Exchange:
        """Take a request on; its answer goes to `downstream`. Tell the exchange if the client leaves."""
        exchange = Exchange(self.context, request, client, downstream, body, path, self.active.discard)
        self.active.add(exchange)
        self.context.order.decide(exchange.start)
        return exchange

    def tick(self) -> None:
        """End what has taken too long: attempts, waits and pauses. Call it several times a second."""
        now = self.context.clock.monotonic()
        self.context.retries.roll(now)
        for exchange in [each for each in self.active if each.deadline <= now]:
            exchange.expire()

    def sweep(self) -> None:
        """Ask who waits whether there is a place, as there may be without an attempt having ended."""
        self.context.queue.sweep()

    def drain(self) -> None:
        """Turn away who waits, now and from now on: the gateway shuts down."""
        self.context.queue.close()
