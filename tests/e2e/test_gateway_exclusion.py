"""Backends that fail too often: how they are excluded and come back, and what happens when nobody is left."""

from typing import Any

import pytest

from nexus.testing import Answer, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, backend_stats, chat, post, samples

ACTION = "Wait for the error rate to decrease, or check the backend"


def config(backends: str, *, breaker: str = "", quality: str = "", routing: str = "") -> str:
    return (
        f'[routing]\nstrategy = "priority_only"\n{routing}\n'
        f"[quality]\nmetrics_interval_seconds = 1\nmin_samples = 10\n{quality}\n"
        f"[breaker]\n{breaker}\n{backends}"
    )


def explained(gateway: GatewayProcess, model: str = "m") -> dict[str, Any]:
    """The candidates of `/v1/routing/explain`, by backend."""
    decision = post(gateway.port, chat(model), path="/v1/routing/explain").json
    return {each["backend"]: each for each in decision["candidates"]}


def excluded(stats: Any, backend_id: str) -> bool:
    quality = backend_stats(stats, backend_id)["quality"]
    return quality is not None and quality["state"] == "excluded"


def test_failing_every_second_request_excludes_a_backend_by_its_rate():
    """No client notices; stats, explain and the traffic agree that it is out, and the breaker is not why."""
    with FaultyBackend() as bad, FaultyBackend() as good:
        bad.alternate(Status(500), Answer())
        toml = config(
            backend("bad", bad.url, priority=1) + backend("good", good.url, priority=2),
            breaker="first_timeout_seconds = 60",
        )
        with GatewayProcess(toml) as gateway:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            replies = [post(gateway.port, chat(stream=number % 4 > 1)) for number in range(10)]
            assert [reply.status for reply in replies] == [200] * 10
            assert [reply.headers["x-nexus-backend"] for reply in replies] == ["good", "bad"] * 5
            stats = gateway.wait_for(lambda stats: excluded(stats, "bad"))

            reason = "Error rate 50.0% exceeds threshold 50.0%"
            told = backend_stats(stats, "bad")
            assert told["quality"]["excluded_reason"] == reason
            assert told["quality"]["models"]["m"]["excluded_reason"] == reason
            assert (told["breaker"], told["status"]) == ("closed", "healthy")
            assert (told["error_rate_1h"], told["quality"]["request_count_1h"]) == (0.5, 10)
            assert backend_stats(stats, "good")["quality"]["state"] == "ok"

            candidates = explained(gateway)
            assert candidates["bad"]["status"] == "excluded"
            assert candidates["bad"]["excluded_by"] == "QualityReconciler"
            assert candidates["bad"]["reason"] == reason
            assert candidates["bad"]["suggested_action"] == ACTION
            assert candidates["good"]["status"] == "chosen"

            for _ in range(5):
                reply = post(gateway.port, chat())
                assert (reply.headers["x-nexus-backend"], reply.headers["x-nexus-attempts"]) == ("good", "1")
                assert "x-nexus-degraded" not in reply.headers
            assert len(bad.posts) == 10
            transitions = samples(gateway, "nexus_breaker_transitions_total")
            assert set(transitions.values()) <= {0.0}


def test_an_excluded_backend_that_works_again_is_back_within_seconds():
    """Live requests test it one at a time, cost no client an error, and its old failures are forgotten."""
    with FaultyBackend() as bad, FaultyBackend() as good:
        bad.alternate(Status(500), Answer())
        toml = config(
            backend("bad", bad.url, priority=1) + backend("good", good.url, priority=2),
            breaker="first_timeout_seconds = 1.5",
        )
        with GatewayProcess(toml) as gateway:
            gateway.wait_ready()
            for _ in range(10):
                assert post(gateway.port, chat()).status == 200
            gateway.wait_for(lambda stats: excluded(stats, "bad"))
            bad.always(Answer())
            replies = []

            def recovered(stats: Any) -> bool:
                replies.append(post(gateway.port, chat()))
                return bool(backend_stats(stats, "bad")["quality"]["state"] == "ok")

            stats = gateway.wait_for(recovered)
            assert {reply.status for reply in replies} == {200}
            assert [r.headers["x-nexus-route-reason"] for r in replies].count("probe") == 2
            assert post(gateway.port, chat()).headers["x-nexus-backend"] == "bad"
            assert backend_stats(stats, "bad")["quality"]["excluded_reason"] is None
            # What happened stays in the published figures.
            assert 0 < backend_stats(stats, "bad")["error_rate_1h"] < 0.5


def degrade(gateway: GatewayProcess) -> None:
    """Ten requests that fail on both backends, and the recompute that notices."""
    gateway.wait_ready()
    for _ in range(10):
        reply = post(gateway.port, chat())
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_error")

    def noticed(stats: Any) -> bool:
        return all(each["quality"] and each["quality"]["error_rate_1h"] == 1 for each in stats["backends"])

    gateway.wait_for(noticed)
    # The recompute that published the rates has put up the gates by the time of the next answer.
    gateway.wait_for(
        lambda stats: {each["quality"]["state"] for each in stats["backends"]} <= {"degraded", "excluded"}
    )


ONLY_THE_RATE = "enabled = false\nfirst_timeout_seconds = 60"
BREAKERS_TOO = "first_timeout_seconds = 60"


@pytest.mark.parametrize(
    ("stream", "breaker"), [(False, ONLY_THE_RATE), (True, ONLY_THE_RATE), (True, BREAKERS_TOO)]
)
def test_with_every_backend_degraded_include_still_serves_and_says_so(stream, breaker):
    """The answer is marked, the word in the figures is `degraded`, and the ranking goes on."""
    with FaultyBackend(Status(500)) as one, FaultyBackend(Status(500)) as two:
        toml = config(backend("one", one.url) + backend("two", two.url, priority=60), breaker=breaker)
        with GatewayProcess(toml) as gateway:
            degrade(gateway)
            stats = gateway.get("/v1/stats")
            assert [each["quality"]["state"] for each in stats["backends"]] == ["degraded", "degraded"]
            assert {each["status"] for each in explained(gateway).values()} == {"chosen", "ranked"}
            two.always(Answer())
            reply = post(gateway.port, chat(stream=stream))
            assert (reply.status, reply.headers["x-nexus-degraded"]) == (200, "true")
            assert (reply.headers["x-nexus-backend"], reply.headers["x-nexus-attempts"]) == ("two", "2")


def test_fallback_backend_goes_first_where_everybody_is_degraded():
    """The preferred backend is asked before one of better priority."""
    with FaultyBackend(Status(500)) as one, FaultyBackend(Status(500)) as two:
        toml = config(
            backend("one", one.url) + backend("two", two.url, priority=60),
            breaker=ONLY_THE_RATE,
            quality='fallback_backend = "two"',
        )
        with GatewayProcess(toml) as gateway:
            degrade(gateway)
            one.always(Answer())
            two.always(Answer())
            reply = post(gateway.port, chat())
            assert (reply.headers["x-nexus-backend"], reply.headers["x-nexus-attempts"]) == ("two", "1")
            assert reply.headers["x-nexus-degraded"] == "true"


# Both serve the fallback too: each backend is still named once.
CHAIN = 'fallbacks = { "m" = ["n"] }'


@pytest.mark.parametrize("breaker", [ONLY_THE_RATE, BREAKERS_TOO])
@pytest.mark.parametrize("routing", ["", CHAIN])
def test_with_every_backend_degraded_reject_gives_one_rejection_each(breaker, routing):
    """503 with a reason per backend and a wait; no backend is asked."""
    models = ("m", "n")
    with FaultyBackend(Status(500), models=models) as one, FaultyBackend(Status(500), models=models) as two:
        toml = config(
            backend("one", one.url) + backend("two", two.url),
            breaker=breaker,
            quality='on_all_degraded = "reject"',
            routing=routing,
        )
        with GatewayProcess(toml) as gateway:
            gateway.wait_ready()
            replies = [post(gateway.port, chat()) for _ in range(10)]
            assert {reply.status for reply in replies} <= {502, 503}

            def out(stats: Any) -> bool:
                return excluded(stats, "one") and excluded(stats, "two")

            gateway.wait_for(out)
            asked = len(one.posts) + len(two.posts)
            reply = post(gateway.port, chat())
            assert (reply.status, reply.json["error"]["code"]) == (503, "no_backend_available")
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            context = reply.json["error"]["context"]
            assert context["retry_after_seconds"] == pytest.approx(int(reply.headers["retry-after"]), abs=1)
            rejections = context["rejections"]
            assert sorted(each["backend"] for each in rejections) == ["one", "two"]
            assert all(each["reason"] and each["suggested_action"] for each in rejections)
            if breaker == ONLY_THE_RATE:
                assert {each["reconciler"] for each in rejections} == {"QualityReconciler"}
                assert {each["reason"] for each in rejections} == {
                    "Error rate 100.0% exceeds threshold 50.0%"
                }
                assert {each["suggested_action"] for each in rejections} == {ACTION}
            assert len(one.posts) + len(two.posts) == asked
            assert gateway.get("/v1/stats")["requests"]["rejected"] >= 1
