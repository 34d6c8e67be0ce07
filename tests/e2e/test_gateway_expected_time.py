"""The default strategy in a running gateway: what it learns shows in explanations and in the traffic."""

from collections import Counter
from typing import Any

from nexus.testing import Delay, FaultyBackend, GatewayProcess, Status
from tests.e2e.gateway_client import backend, chat, post

TERMS = (
    "expected_s",
    "slowness",
    "pending",
    "limit",
    "failure_share",
    "fleet_failure_share",
    "penalty",
    "ramp",
    "noise",
)


def candidates(gateway: GatewayProcess) -> dict[str, Any]:
    """The candidates of `/v1/routing/explain`, by backend."""
    decision = post(gateway.port, chat(stream=True), path="/v1/routing/explain").json
    return {each["backend"]: each for each in decision["candidates"]}


def test_slow_first_tokens_are_learned_explained_and_avoided():
    """A backend whose first token takes a third of a second hardly gets requests beside a quick one."""
    with FaultyBackend() as slow, FaultyBackend() as quick:
        slow.always(Delay(0.3))
        with GatewayProcess(backend("slow", slow.url) + backend("quick", quick.url)) as gateway:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            replies = [post(gateway.port, chat(stream=True)) for _ in range(40)]
            assert all(reply.status == 200 for reply in replies)
            assert replies[-1].headers["x-nexus-route-reason"] == "expected-time"
            served = Counter(reply.headers["x-nexus-backend"] for reply in replies[10:])
            assert served["quick"] >= 25

            found = candidates(gateway)
            assert tuple(found["quick"]["terms"]) == TERMS
            assert found["quick"]["status"] == "chosen"
            assert found["slow"]["terms"]["slowness"] > 2.0 * found["quick"]["terms"]["slowness"]
            assert found["quick"]["score"] > found["slow"]["score"]


def test_failures_are_avoided_long_before_any_rate_excludes():
    """With breakers off and too few samples for the rate, the cost alone turns requests away."""
    with FaultyBackend() as bad, FaultyBackend() as good:
        bad.always(Status(500))
        toml = (
            "[breaker]\nenabled = false\n[quality]\nmin_samples = 1000\n"
            + backend("bad", bad.url)
            + backend("good", good.url)
        )
        with GatewayProcess(toml) as gateway:
            gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
            replies = [post(gateway.port, chat()) for _ in range(40)]
            assert all(reply.status == 200 for reply in replies)
            assert 2 <= len(bad.posts) <= 8, "one failure alone is no evidence, a few are"
            terms = candidates(gateway)["bad"]["terms"]
            assert terms["penalty"] > 2.0
            assert terms["failure_share"] > terms["fleet_failure_share"] / 2
