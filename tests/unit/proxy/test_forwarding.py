"""Requests on their way: fallbacks, time limits, broken answers, slow and vanished clients."""

from functools import partial

import pytest

from nexus.core.outcome import AttemptResult, FailureKind, RequestResult
from nexus.proxy.upstream import UpstreamPool
from nexus.testing import Answer, Cut, ErrorBody, Hang, Reset, Status, Where
from tests.unit.proxy.forwarding import Client, Rig, forwarding

CHAIN: dict[str, tuple[str, ...]] = {"only-a": ("only-b", "only-c")}


async def test_the_fallback_chain_is_followed_after_failures():
    async with forwarding(3, fallbacks=CHAIN) as rig:
        rig.upstreams["a"].always(Status(500))
        rig.upstreams["b"].always(Status(503))
        client = rig.ask(model="only-a")
        await rig.served(client)
        assert (client.status, client.header("X-Nexus-Fallback-Model")) == (200, "only-c")
        assert client.header("X-Nexus-Attempts") == "3"
        assert b'"model":"only-c"' in rig.upstreams["c"].posts[0].body


@pytest.mark.parametrize(("alive", "dead"), [("b", "c"), ("c", "b")])
async def test_after_a_refused_connection_one_that_is_open_goes_first(alive, dead):
    """Servers that went down together are not tried one after the other."""
    async with forwarding(3, priorities=(0, 1, 1), max_retries=1) as rig:
        await rig.served(rig.ask(model=f"only-{alive}"))
        rig.upstreams["a"].stop()
        rig.upstreams[dead].stop()
        for number in range(2):
            client = rig.ask(f"{number}")
            await rig.served(client)
            assert client.status == 200


async def test_an_open_connection_does_not_go_before_a_lower_priority_number():
    async with forwarding(3, max_retries=1) as rig:
        await rig.served(rig.ask(model="only-c"))
        rig.upstreams["a"].stop()
        await rig.served(rig.ask("next"))
        assert rig.asked("b") == ["next"]


async def test_attempts_on_fallbacks_count_as_retries():
    async with forwarding(3, fallbacks=CHAIN, max_retries=1) as rig:
        rig.upstreams["a"].always(Status(500))
        rig.upstreams["b"].always(Status(500))
        client = rig.ask(model="only-a")
        await rig.served(client)
        assert (client.status, client.error["code"]) == (502, "upstream_error")
        assert rig.upstreams["c"].posts == []
        shown = [(each["backend"], each["kind"]) for each in client.error["context"]["attempts"]]
        assert shown == [("a", "server_error"), ("b", "server_error")]


async def test_an_unknown_model_names_those_like_it():
    async with forwarding() as rig:
        client = rig.ask(model="only-b")
        assert (client.status, client.error["code"]) == (404, "model_not_found")
        assert "only-a" in client.error["message"]
        assert (
            rig.ask("other", model="zzzzzzzz")
            .error["message"]
            .endswith("GET /v1/models lists what there is.")
        )


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_breaks_after_its_first_byte_ends_as_an_error(stream):
    """A stream says so in an event; the bytes before it have been passed on."""
    async with forwarding(2) as rig:
        rig.upstreams["a"].always(Reset(Where.IN_BODY, events=2) if stream else Reset(Where.IN_BODY))
        client = rig.ask(stream=stream)
        await rig.served(client)
        if stream:
            assert client.header("X-Nexus-Backend") == "a"
            assert b'data: {"error":{"message":' in client.body
            assert rig.requests[0].result is RequestResult.ERROR
        else:
            assert client.header("X-Nexus-Backend") == "b", "nothing of it had been passed on"


async def test_a_cut_stream_and_an_error_inside_are_failures():
    async with forwarding() as rig:
        rig.upstreams["a"].script(Cut(events=2), ErrorBody(events=2))
        cut = rig.ask("cut", stream=True)
        await rig.served(cut)
        inside = rig.ask("inside", stream=True)
        await rig.served(inside)
        assert [each.kind for each in rig.attempts] == [FailureKind.CUT, FailureKind.ERROR_BODY]
        assert cut.body.count(b'"error"') == 1
        assert inside.body.count(b'"error"') == 1, "the backend's own error event is enough"


async def test_silence_in_the_middle_ends_the_stream():
    async with forwarding() as rig:
        rig.upstreams["a"].always(Hang(Where.IN_BODY, events=2))
        client = rig.ask(stream=True)
        await rig.until(lambda: client.body)
        rig.pass_time(59.0)
        assert rig.pending() == 1
        rig.pass_time(2.0)
        assert client.over
        assert rig.attempts[0].kind is FailureKind.IDLE_TIMEOUT


async def test_the_total_time_ends_everything():
    """Also where another backend could still be tried."""
    async with forwarding(2) as rig:
        rig.upstreams["a"].always(Hang())
        client = rig.ask()
        await rig.sent("a", 1)
        rig.clock.advance(290.0)
        rig.pass_time(9.0)
        assert not client.over
        rig.upstreams["b"].always(Hang())
        rig.pass_time(2.0)
        await rig.sent("b", 1)
        rig.pass_time(299.5)
        assert (client.status, client.error["code"]) == (504, "upstream_timeout")
        assert rig.attempts[-1].kind is FailureKind.TOTAL_TIMEOUT


async def test_an_error_whose_explanation_does_not_come_is_not_waited_for():
    async with forwarding(2) as rig:
        rig.upstreams["a"].always(Hang(Where.AFTER_HEAD, inner=Status(500)))
        client = rig.ask()
        await rig.sent("a", 1)
        (exchange,) = rig.forwarder.active
        # The deadline of the attempt, not the time at which a second one may start beside it.
        attempt = exchange._attempt
        assert attempt is not None
        await rig.until(lambda: attempt.deadline < rig.clock.monotonic() + 2.1)
        rig.pass_time(2.1)
        await rig.served(client)
        assert client.header("X-Nexus-Backend") == "b"
        assert rig.attempts[0].status == 500


async def test_a_slow_client_holds_its_backend_back():
    async with forwarding() as rig:
        rig.upstreams["a"].always(Answer(tokens=4, token_delay=0.02))
        client = rig.ask(stream=True)
        await rig.until(lambda: client.body)
        client.exchange.pause()
        rig.clock.advance(500.0)
        rig.forwarder.tick()
        client.exchange.resume()
        rig.forwarder.tick()
        await rig.served(client)
        assert client.body.endswith(b"data: [DONE]\n\n"), "the silence was not the backend's"


async def test_a_client_that_never_reads_on_is_given_up_and_nothing_is_held_against_its_backend():
    async with forwarding() as rig:
        rig.upstreams["a"].always(Answer(tokens=400, token_delay=0.02))
        client = rig.ask(stream=True)
        await rig.until(lambda: client.body)
        client.exchange.pause()
        rig.pass_time(601.0)
        assert client.over
        assert rig.attempts[0].result is AttemptResult.CANCELLED
        assert (rig.requests[0].status, rig.requests[0].result) == (499, RequestResult.CANCELLED)
        await rig.until(lambda: rig.upstreams["a"].open_connections == 0)


async def test_a_client_that_leaves_ends_the_attempt():
    async with forwarding() as rig:
        rig.upstreams["a"].always(Hang())
        client = rig.ask()
        client.exchange.pause()
        client.exchange.resume()
        await rig.sent("a", 1)
        client.exchange.client_gone()
        assert rig.attempts[0].result is AttemptResult.CANCELLED
        assert (rig.requests[0].status, rig.requests[0].result) == (499, RequestResult.CANCELLED)
        await rig.until(lambda: rig.upstreams["a"].open_connections == 0)


def take_out(rig: Rig, name: str) -> None:
    """Let the breaker of a backend open, and its wait be over."""
    breaker = rig.path.breaker_of(name)
    assert breaker is not None
    breaker.trip()
    rig.clock.advance(30.0)


async def occupy_test(rig: Rig) -> Client:
    """A request that tests a half-open backend, and does not end."""
    rig.upstreams["a"].script(Hang())
    client = rig.ask("tester", model="only-a")
    await rig.sent("a", 1)
    assert client.exchange is not None
    return client


async def test_while_somebody_tests_the_only_backend_others_try_it_all_the_same():
    async with forwarding() as rig:
        take_out(rig, "a")
        tester = await occupy_test(rig)
        other = rig.ask("other", model="only-a")
        await rig.served(other)
        assert other.status == 200
        tester.exchange.client_gone()


async def test_a_test_that_works_and_one_that_fails():
    async with forwarding() as rig:
        take_out(rig, "a")
        rig.upstreams["a"].script(Answer(), Status(500))
        await rig.served(rig.ask("1", model="only-a"))
        breaker = rig.path.breaker_of("a")
        assert breaker is not None
        assert breaker.state == "half_open"
        await rig.served(rig.ask("2", model="only-a"))
        assert breaker.state == "open"


def broken(*_: object, **__: object) -> None:
    raise ValueError("a mistake of ours")


class Broken:
    decide = staticmethod(broken)


async def test_a_fault_while_deciding_is_answered_and_leaves_nothing_behind(monkeypatch, caplog):
    async with forwarding() as rig:
        with monkeypatch.context() as patched:
            patched.setattr(rig.forwarder.context, "router", Broken())
            client = rig.ask()
        assert (client.status, client.over, rig.forwarder.active) == (500, True, set())
        assert [record.getMessage() for record in caplog.records] == ["answering /x failed"]
        assert rig.attempts == []
        again = rig.ask()
        await rig.served(again)
        assert again.status == 200


async def test_a_fault_while_sending_ends_the_attempt_and_counts_for_nobody(monkeypatch, caplog):
    """It is no failure of the backend; its place is free again."""
    async with forwarding(limit=1) as rig:
        with monkeypatch.context() as patched:
            patched.setattr(UpstreamPool, "send", broken)
            client = rig.ask()
        assert (client.status, client.over, rig.forwarder.active) == (500, True, set())
        assert "a mistake of ours" in caplog.text
        assert ([each.result for each in rig.attempts], rig.pending()) == ([AttemptResult.CANCELLED], 0)
        again = rig.ask()
        await rig.served(again)
        assert again.status == 200


async def test_of_several_requests_in_one_turn_each_is_decided_on_knowing_of_those_before():
    """All are decided on before the first is sent; the places they take count at once."""
    async with forwarding(3, limit=1) as rig:
        clients: list[Client] = []

        def ask(name: str) -> None:
            clients.append(rig.ask(name))

        for name in ("first", "second", "third"):
            rig.pool.turn.asked(partial(ask, name))
        await rig.until(lambda: len(clients) == 3)
        await rig.served(*clients)
        assert [rig.asked(upstream) for upstream in "abc"] == [["first"], ["second"], ["third"]]
        assert [client.status for client in clients] == [200] * 3
