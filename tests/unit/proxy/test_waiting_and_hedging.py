"""Requests that wait, pause, retry and race: virtual time, real sockets."""

import math

import pytest

from nexus.core.fleet import BackendStatus
from nexus.core.outcome import AttemptResult, RequestResult
from nexus.proxy.headers import ResponseHead
from nexus.testing import Answer, Hang, Status
from tests.unit.proxy.forwarding import Rig, forwarding


async def occupy(rig: Rig, upstream: str = "a") -> None:
    """Let an upstream with one place be busy with the request "busy", until `release`."""
    rig.upstreams[upstream].script(Hang())
    rig.ask("busy")
    await rig.sent(upstream, 1)


def release(rig: Rig) -> None:
    """The client of the busy request leaves, and its place is free."""
    (busy,) = [each for each in rig.forwarder.active if each.request.trace_id == "busy"]
    busy.client_gone()


async def test_the_freed_place_goes_to_the_first_in_line_at_once():
    async with forwarding(limit=1) as rig:
        await occupy(rig)
        normal, high = rig.ask("normal"), rig.ask("high", high=True)
        assert rig.queue.depth == 2
        rig.clock.advance(5.0)
        release(rig)
        assert rig.queue.depth == 1, "in the same moment"
        await rig.served(normal, high)
        assert rig.asked("a") == ["busy", "high", "normal"]
        assert float(high.header("X-Nexus-Overhead-Ms")) < 1000, "the five seconds were no work"
        assert high.header("x-own") == "1"


async def test_a_wait_ends_with_a_computed_time_to_come_back():
    async with forwarding(limit=1) as rig:
        await occupy(rig)
        waiting = rig.ask()
        rig.pass_time(29.9)
        assert not waiting.over
        rig.pass_time(0.2)
        assert (waiting.status, waiting.error["code"]) == (503, "overloaded")
        assert int(waiting.header("Retry-After")) == math.ceil(30.1)
        assert rig.requests[0].result is RequestResult.REJECTED
        release(rig)


async def test_a_full_queue_and_a_gateway_that_shuts_down_take_nobody():
    async with forwarding(limit=1, queue_size=1) as rig:
        await occupy(rig)
        waiting, late = rig.ask("waiting"), rig.ask("late")
        assert (late.status, late.error["code"]) == (503, "overloaded")
        assert "1 requests wait already" in late.error["message"]
        rig.forwarder.drain()
        assert "shutting down" in waiting.error["message"]
        assert rig.ask("later").status == 503
        release(rig)


async def test_without_a_queue_the_message_says_so():
    async with forwarding(limit=1, queue_size=0) as rig:
        await occupy(rig)
        assert "requests do not wait (queue.enabled)" in rig.ask().error["message"]
        release(rig)


async def test_who_leaves_the_queue_is_cancelled():
    async with forwarding(limit=1) as rig:
        await occupy(rig)
        rig.ask("leaver").exchange.client_gone()
        assert rig.queue.depth == 0
        assert rig.requests[-1].result is RequestResult.CANCELLED
        release(rig)


async def test_a_backend_that_comes_back_is_noticed_by_the_sweep():
    """No attempt ends, yet there is a place."""
    async with forwarding(2, limit=1) as rig:
        rig.fleet.set_status("b", BackendStatus.UNHEALTHY)
        await occupy(rig)
        waiting = rig.ask("waiting")
        rig.forwarder.sweep()
        assert rig.queue.depth == 1
        rig.fleet.set_status("b", BackendStatus.HEALTHY)
        rig.forwarder.sweep()
        await rig.served(waiting)
        assert waiting.header("X-Nexus-Backend") == "b"
        release(rig)


async def test_who_waits_in_vain_is_told_why():
    """What was full has gone down meanwhile."""
    async with forwarding(limit=1) as rig:
        await occupy(rig)
        waiting = rig.ask()
        rig.fleet.set_status("a", BackendStatus.UNHEALTHY)
        release(rig)
        assert (waiting.status, waiting.error["code"]) == (503, "no_backend_available")
        assert waiting.header("Retry-After") == "30", "when the next check may change it"


async def test_a_retry_waits_for_the_only_other_backend():
    async with forwarding(2, limit=1) as rig:
        rig.upstreams["b"].script(Hang())
        rig.fleet.set_status("a", BackendStatus.UNHEALTHY)
        rig.ask("busy")
        await rig.sent("b", 1)
        rig.fleet.set_status("a", BackendStatus.HEALTHY)
        rig.upstreams["a"].always(Status(500))
        retried = rig.ask("retried")
        await rig.until(lambda: rig.queue.depth == 1)
        release(rig)
        await rig.served(retried)
        assert (retried.status, retried.header("X-Nexus-Backend")) == (200, "b")
        assert len(rig.upstreams["a"].posts) == 1


async def test_a_short_pause_is_sat_out_once():
    async with forwarding() as rig:
        rig.upstreams["a"].always(Status(429, retry_after=0.5))
        client = rig.ask()
        await rig.until(lambda: rig.attempts)
        assert not client.over
        rig.pass_time(0.51)
        await rig.served(client)
        assert (client.status, len(rig.attempts)) == (429, 2)
        assert all(each.result is AttemptResult.RATE_LIMITED for each in rig.attempts)


async def test_a_backend_that_asks_for_five_seconds_is_not_asked_before_and_is_asked_then():
    async with forwarding(2) as rig:
        rig.upstreams["a"].script(Status(429, retry_after=5))
        for seconds, by, asked in ((0.0, "b", 1), (2.5, "b", 1), (2.4, "b", 1), (0.2, "a", 2)):
            rig.pass_time(seconds)
            client = rig.ask(f"after-{seconds}")
            await rig.served(client)
            assert (client.status, client.header("X-Nexus-Backend")) == (200, by)
            assert len(rig.upstreams["a"].posts) == asked
        assert all(each.kind is None for each in rig.attempts), "to be throttled is no failure"


async def test_a_request_that_finds_everybody_throttled_waits_too():
    async with forwarding() as rig:
        rig.upstreams["a"].script(Status(429, retry_after=30))
        first = rig.ask("first")
        await rig.served(first)
        assert first.header("Retry-After") == "30"
        rig.clock.advance(29.5)
        second = rig.ask("second")
        assert not second.over
        gone = rig.ask("gone")
        gone.exchange.client_gone()
        rig.pass_time(0.6)
        await rig.served(second)
        assert second.status == 200


@pytest.mark.parametrize("status", [500, 429])
async def test_a_delay_between_retries(status):
    async with forwarding(2, initial_delay_seconds=4.0, jitter=False) as rig:
        rig.upstreams["a"].always(Status(status))
        client = rig.ask()
        await rig.until(lambda: rig.attempts)
        rig.pass_time(3.9)
        assert rig.pending() == 0
        rig.pass_time(0.2)
        await rig.served(client)
        assert client.header("X-Nexus-Backend") == "b"


async def test_retries_stop_where_the_budget_does():
    async with forwarding(2, budget_percent=0.0, budget_min_per_second=0.1) as rig:
        rig.upstreams["a"].always(Status(500))
        first, second = rig.ask("1"), rig.ask("2")
        await rig.served(first, second)
        assert sorted([first.status, second.status]) == [200, 502]
        assert rig.retries.refused == 1


async def overdue(rig: Rig, *, first_hangs: bool = True) -> None:
    """Give "a" a baseline for its first token, then let it be slow."""
    for _ in range(3):
        rig.store.record_outcome("a", True, 100.0)
    if first_hangs:
        rig.upstreams["a"].always(Hang())


async def test_a_second_attempt_answers_in_place_of_a_slow_one():
    async with forwarding(2) as rig:
        await overdue(rig)
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(1.9)
        assert rig.pending() == 1
        rig.pass_time(0.2)
        assert rig.pending() == 2
        await rig.served(client)
        assert client.header("X-Nexus-Backend") == "b"
        assert client.header("X-Nexus-Route-Reason") == "hedge"
        assert client.header("X-Nexus-Attempts") == "2"
        results = [(each.backend_id, each.result.value) for each in rig.attempts]
        assert results == [("a", "cancelled"), ("b", "success")]
        assert rig.path.guard.share(["a"], rig.clock.monotonic()) == (1.0, 1), "the breaker was told"


async def test_two_whole_answers_in_one_turn_are_one_answer_and_one_outcome_each():
    """Both backends answer without streaming in one moment: the first goes out, the other is called off."""
    async with forwarding(2) as rig:
        await overdue(rig)
        rig.upstreams["b"].always(Hang())
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        await rig.sent("b", 1)
        for attempt in (client.exchange._rival, client.exchange._attempt):
            assert attempt is not None
            assert attempt._call is not None
            attempt._call.cancel()  # what comes is said by hand from here on, to have both in one turn
            attempt.on_head(ResponseHead(200, []))
            attempt.on_body(b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}')
            rig.pool.turn.answered(attempt.on_end)
        await rig.served(client)
        assert (client.status, client.header("X-Nexus-Backend")) == (200, "b")
        results = [(each.backend_id, each.result.value) for each in rig.attempts]
        assert sorted(results) == [("a", "cancelled"), ("b", "success")]
        assert (len(rig.requests), rig.pending()) == (1, 0)


async def test_a_long_prompt_and_an_unknown_backend_have_more_time():
    async with forwarding(2) as rig:
        rig.upstreams["a"].always(Hang())
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        rig.pass_time(7.8)
        assert rig.pending() == 1
        rig.pass_time(0.2)
        assert rig.pending() == 2
        await rig.served(client)


async def test_nothing_is_started_beside_a_whole_answer():
    async with forwarding(2) as rig:
        await overdue(rig)
        client = rig.ask()
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        rig.pass_time(20.0)
        assert rig.pending() == 1
        client.exchange.client_gone()


async def test_a_stream_that_has_begun_has_no_rival():
    async with forwarding(2) as rig:
        await overdue(rig, first_hangs=False)
        rig.upstreams["a"].always(Answer(token_delay=0.05))
        client = rig.ask(stream=True)
        await rig.until(lambda: client.status)
        rig.pass_time(3.0)
        await rig.served(client)
        assert len(rig.attempts) == 1


async def test_both_are_cancelled_when_the_client_leaves():
    async with forwarding(2) as rig:
        await overdue(rig)
        rig.upstreams["b"].always(Hang())
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        await rig.sent("b", 1)
        client.exchange.client_gone()
        assert [each.result for each in rig.attempts] == [AttemptResult.CANCELLED] * 2


async def test_when_one_of_two_fails_the_other_goes_on():
    async with forwarding(3) as rig:
        await overdue(rig)
        rig.upstreams["b"].always(Status(500))
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        await rig.until(lambda: len(rig.attempts) == 1)
        assert rig.pending() == 1
        rig.pass_time(60.0)
        await rig.served(client)
        results = [(each.backend_id, each.result.value) for each in rig.attempts]
        assert results == [("b", "failure"), ("a", "failure"), ("c", "success")]
        assert client.header("X-Nexus-Backend") == "c"


async def test_when_the_slow_one_fails_the_second_answers():
    async with forwarding(2) as rig:
        await overdue(rig)
        rig.upstreams["b"].always(Hang())
        client = rig.ask(stream=True)
        await rig.sent("a", 1)
        rig.pass_time(2.1)
        await rig.sent("b", 1)
        rig.pass_time(58.0)
        assert [each.backend_id for each in rig.attempts] == ["a"]
        rig.pass_time(3.0)
        await rig.served(client)
        assert (client.status, client.error["code"]) == (504, "upstream_timeout")


async def test_no_second_attempt_beyond_the_budget_or_the_number_of_retries():
    for retry in ({"budget_percent": 0.0, "budget_min_per_second": 0.0}, {"max_retries": 0}):
        async with forwarding(2, **retry) as rig:
            await overdue(rig)
            client = rig.ask(stream=True)
            await rig.sent("a", 1)
            rig.pass_time(2.1)
            rig.pass_time(5.0)
            assert rig.pending() == 1
            client.exchange.client_gone()
