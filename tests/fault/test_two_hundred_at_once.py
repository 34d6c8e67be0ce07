"""Two hundred requests at a time while one of two backends is killed, restarted, hung and throttled."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.soak_client import Connection, Reply
from nexus.ledger.open import open_ledger
from nexus.testing import Answer, FaultyBackend, GatewayProcess, Hang, ReceivedRequest, Status
from nexus.testing.wire import Step
from tests.e2e.gateway_client import attempts, backend, idle
from tests.fault.process_watch import complaints, descriptors, settle

CLIENTS = 200
A_PHASE = 200
CONFIG = """
[logging]
format = "json"
[health_check]
interval_seconds = 1
[timeouts]
first_token_seconds = 6
[breaker]
first_timeout_seconds = 0.5
timeout_seconds = 2
[routing]
strategy = "round_robin"
"""


class Echo(Struct, frozen=True):
    """An answer that repeats the last message, at the pace of a model: half a second, then word by word."""

    def steps(self, request: ReceivedRequest) -> Sequence[Step]:
        """The answer."""
        said = request.json["messages"][-1]["content"]
        return Answer(text=f"{said} is what you said", first_token_delay=0.5, token_delay=0.1).steps(request)


class Crowd:
    """Clients that each ask, wait for all of the answer, and ask again; three of four ask for a stream."""

    def __init__(self, port: int) -> None:
        self._connections = [Connection(port) for _ in range(CLIENTS)]
        self._changed = asyncio.Condition()
        self._stopping = False
        self.sent = self.surplus = 0
        self.replies: list[tuple[str, Reply]] = []

    async def run(self) -> None:
        """Until `stop`, then until everybody has an answer."""
        await asyncio.gather(*(self._ask(each, number) for number, each in enumerate(self._connections)))
        self.surplus = sum(each.close() for each in self._connections)

    def stop(self) -> None:
        self._stopping = True

    async def more(self, count: int) -> None:
        """Return when so many further requests have been answered."""
        wanted = len(self.replies) + count
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.replies) >= wanted)

    async def _ask(self, connection: Connection, number: int) -> None:
        while not self._stopping:
            self.sent += 1
            text = f"n{self.sent}n"
            reply = await connection.ask(text, stream=number % 4 > 0)
            if not reply.whole:
                connection.close()  # the gateway does so too, once it has sent what there was
            async with self._changed:
                self.replies.append((text, reply))
                self._changed.notify_all()


async def harass(victim: FaultyBackend, crowd: Crowd) -> None:
    """What may happen to a backend, each for as long as it takes to answer some hundred requests."""
    await in_use(victim)
    await crowd.more(A_PHASE)
    await asyncio.to_thread(victim.stop)
    await crowd.more(A_PHASE)
    await asyncio.to_thread(victim.start)
    await in_use(victim)
    victim.always(Hang())
    await crowd.more(A_PHASE)
    victim.always(Echo())
    victim.reset_all()  # whoever does not stream would wait for long
    await in_use(victim)
    victim.always(Status(429, retry_after=1))
    victim.forget()
    await victim.wait_until_async(lambda server: bool(server.posts), timeout=60)
    await crowd.more(A_PHASE)
    victim.always(Echo())
    await in_use(victim)
    crowd.stop()


async def in_use(victim: FaultyBackend) -> None:
    """Return when a good part of the requests goes to it again."""
    victim.forget()
    await victim.wait_until_async(lambda server: len(server.posts) >= CLIENTS // 4, timeout=60)


async def test_two_hundred_requests_at_once_get_one_answer_each_whatever_happens_to_a_backend(tmp_path: Path):
    """No request fails before its first byte; none is lost, doubled or mixed up, nor is a receipt."""
    ledger = f"jsonl:///{tmp_path}/ledger"
    toml = f'{CONFIG}[ledger]\nurl = "{ledger}"\n'
    with FaultyBackend(Echo()) as steady, FaultyBackend(Echo()) as victim:
        toml += backend("steady", steady.url, models=["m"]) + backend("victim", victim.url, models=["m"])
        with GatewayProcess(toml) as gateway:
            await asyncio.to_thread(gateway.wait_ready)
            at_first = descriptors(gateway)
            crowd = Crowd(gateway.port)
            await asyncio.gather(crowd.run(), harass(victim, crowd))
            steady.close_idle()
            victim.close_idle()
            # The ledger's files are open by now.
            stats = await asyncio.to_thread(settle, gateway, steady, victim, at_most=at_first + 4)
            booked = Counter(attempts(gateway, "victim"))
    assert idle(stats)
    assert complaints(gateway) == []

    answers = Counter(
        f"{reply.status} {reply.code}" if reply.status != 200 else "whole" if reply.whole else "cut"
        for _, reply in crowd.replies
    )
    share = {kind: f"{count / len(crowd.replies):.2%}" for kind, count in answers.items()}
    print(f"{len(crowd.replies)} requests: {share}; attempts on the victim: {dict(booked)}")  # noqa: T201 - the share is what a reader of this test wants to know
    assert set(answers) <= {"whole", "cut"}
    assert answers["cut"] <= CLIENTS, "only those that the crash met within their answer"
    assert len(crowd.replies) == crowd.sent == stats["requests"]["total"]
    assert crowd.surplus == 0
    assert all(reply.text.count(text) == 1 for text, reply in crowd.replies if reply.whole)
    # What happened was noticed: killed, hung, throttled.
    assert {outcome for outcome, _ in booked} >= {"success", "failure", "rate_limited"}

    store = open_ledger(ledger)
    receipts = Counter(entry.trace_id for entry in store.read())
    store.close()
    assert receipts == Counter(reply.trace_id for _, reply in crowd.replies)
