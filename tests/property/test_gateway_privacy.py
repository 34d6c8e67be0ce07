"""Invariant: a restricted request never reaches a backend in the open zone, whatever else goes wrong.

Generated aliases, fallbacks and policies, through a real gateway whose restricted backends fail. One gateway
holds many small worlds side by side, each with model names of its own, because starting one takes a second.
"""

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from typing import get_args

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from nexus.config.routing import RoutingConfig
from nexus.testing import (
    Answer,
    Behaviour,
    BrokenJson,
    Close,
    EmptyChoices,
    FaultyBackend,
    GatewayProcess,
    Reset,
    Status,
    Where,
)

RESTRICTED = ("safe-1", "safe-2")
OPEN = ("open-1", "open-2")
MODELS = ("m0", "m1", "m2")
ALIASES = ("a0", "a1", "a2")
NAMES = MODELS + ALIASES
FAULTS: tuple[Behaviour, ...] = (
    Status(500),
    Status(503, retry_after=1),
    Status(429, retry_after=2),
    Status(401),
    Status(404),
    Reset(),
    Reset(Where.AFTER_HEAD),
    Close(),
    Close(Where.AFTER_HEAD),
    BrokenJson(),
    EmptyChoices(),
    Answer(),
)


class Asked(Struct, frozen=True):
    """One request: the name it asks for, its own headers, and what the restricted backends do with it."""

    name: str
    privacy: str
    flexible: bool
    stream: bool
    faults: tuple[Behaviour, Behaviour]


class World(Struct, frozen=True):
    """A small configuration and requests to it; names are without the prefix that keeps worlds apart."""

    served: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    fallbacks: Mapping[str, tuple[str, ...]]
    policies: tuple[tuple[str, str], ...]
    requests: tuple[Asked, ...]

    def path(self, name: str) -> list[str]:
        """The name and everything that it stands for."""
        path = [name]
        while path[-1] in self.aliases:
            path.append(self.aliases[path[-1]])
        return path

    def restricts(self, name: str) -> bool:
        """Whether the first policy for one of the names on the path says so."""
        for step in self.path(name):
            first = next((privacy for pattern, privacy in self.policies if _matches(pattern, step)), "")
            if first == "restricted":
                return True
        return False

    def forbidden(self, asked: Asked) -> set[str]:
        """The models that this request may not be sent for to an open backend."""
        if asked.privacy == "restricted" or self.restricts(asked.name):
            return set(MODELS)
        ways = [asked.name]
        ways += next((self.fallbacks[step] for step in self.path(asked.name) if step in self.fallbacks), ())
        allowed = {self.path(way)[-1] for way in ways if not self.restricts(way)}
        return set(MODELS) - allowed


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


requests = st.builds(
    Asked,
    name=st.sampled_from(NAMES),
    privacy=st.sampled_from(["", "", "restricted", "open"]),
    flexible=st.booleans(),
    stream=st.booleans(),
    faults=st.tuples(st.sampled_from(FAULTS), st.sampled_from(FAULTS)),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    backends = st.lists(st.sampled_from(RESTRICTED + OPEN), unique=True, max_size=4).map(tuple)
    order = draw(st.permutations(NAMES))
    patterns = st.sampled_from([*NAMES, "m*", "a*", "*"])
    return World(
        served={model: draw(backends) for model in MODELS},
        # An alias leads to a model or to an alias of lower number, so there are no cycles.
        aliases={
            alias: draw(st.sampled_from(MODELS + ALIASES[:number])) for number, alias in enumerate(ALIASES)
        },
        # A chain has only names further on in some order: the configuration refuses cycles here too.
        fallbacks={
            name: draw(
                st.lists(st.sampled_from(order[at + 1 :]), min_size=1, max_size=3, unique=True).map(tuple)
            )
            for at, name in enumerate(order[:-1])
            if draw(st.booleans())
        },
        policies=tuple(
            draw(
                st.lists(
                    st.tuples(patterns, st.sampled_from(["restricted", "restricted", "unrestricted"])),
                    max_size=3,
                )
            )
        ),
        requests=tuple(draw(st.lists(requests, min_size=4, max_size=8))),
    )


class Rules(Struct, frozen=True):
    """Settings that decide who is tried when everything fails."""

    strategy: str
    breakers: bool
    on_all_degraded: str
    max_retries: int


rules = st.builds(
    Rules,
    strategy=st.sampled_from(get_args(RoutingConfig.model_fields["strategy"].annotation)),
    breakers=st.booleans(),
    on_all_degraded=st.sampled_from(["include", "reject"]),
    max_retries=st.integers(0, 5),
)


def configuration(rule: Rules, all_worlds: list[World], servers: Mapping[str, FaultyBackend]) -> str:
    """The file, with every name of a world behind the world's number."""
    aliases: dict[str, str] = {}
    fallbacks: dict[str, list[str]] = {}
    policies: list[str] = []
    served: dict[str, list[str]] = {name: [] for name in servers}
    for number, world in enumerate(all_worlds):
        at = f"w{number}-"
        aliases |= {at + alias: at + target for alias, target in world.aliases.items()}
        fallbacks |= {at + name: [at + each for each in chain] for name, chain in world.fallbacks.items()}
        policies += [
            f"{{ model_pattern = {json.dumps(at + pattern)}, privacy = {json.dumps(privacy)} }}"
            for pattern, privacy in world.policies
        ]
        for model, backends in world.served.items():
            for each in backends:
                served[each].append(at + model)
    lines = [
        f"routing.strategy = {json.dumps(rule.strategy)}",
        f"routing.policies = [{', '.join(policies)}]",
        *(f'routing.aliases."{name}" = "{target}"' for name, target in aliases.items()),
        *(f'routing.fallbacks."{name}" = {json.dumps(chain)}' for name, chain in fallbacks.items()),
        f"retry.max_retries = {rule.max_retries}",
        f"breaker.enabled = {json.dumps(rule.breakers)}",
        "breaker.first_timeout_seconds = 0.05",
        "quality.metrics_interval_seconds = 1",
        f"quality.on_all_degraded = {json.dumps(rule.on_all_degraded)}",
        "health_check.interval_seconds = 600",
    ]
    for name, server in servers.items():
        models = json.dumps(served[name] or ["unused"])
        zone = "open" if name in OPEN else "restricted"
        # The open ones are the more attractive by priority.
        priority = 1 if name in OPEN else 90
        lines += ["[[backends]]", f'name = "{name}"', f'url = "{server.url}"', f"models = {models}"]
        lines += [f'zone = "{zone}"', f"priority = {priority}"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, FaultyBackend]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(FaultyBackend()) for name in RESTRICTED + OPEN}


def send(client: http.client.HTTPConnection, model: str, asked: Asked) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": asked.stream}
    headers = {"Content-Type": "application/json"}
    if asked.privacy:
        headers["X-Nexus-Privacy"] = asked.privacy
    if asked.flexible:
        headers["X-Nexus-Flexible"] = "true"
    client.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = client.getresponse()
    response.read()
    return response.status


def check(
    client: http.client.HTTPConnection, servers: Mapping[str, FaultyBackend], at: str, world: World
) -> None:
    """Send the requests of a world and look at what the open backends got."""
    for asked in world.requests:
        for name, fault in zip(RESTRICTED, asked.faults, strict=True):
            servers[name].always(fault)
        for server in servers.values():
            server.forget()
        status = send(client, at + asked.name, asked)
        assert status in {200, 401, 404, 429, 502, 503, 504}
        forbidden = {at + model for model in world.forbidden(asked)}
        for name in OPEN:
            leaked = [post.model for post in servers[name].posts if post.model in forbidden]
            assert not leaked, f"{name} got {leaked} for {asked} in {world}"


@settings(
    max_examples=5,
    deadline=None,
    # A smaller counterexample is not worth the start of a gateway per step: the message names the world.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(rule=rules, all_worlds=st.lists(worlds(), min_size=8, max_size=16))
def test_a_restricted_request_never_reaches_an_open_backend(
    servers: dict[str, FaultyBackend], rule: Rules, all_worlds: list[World]
):
    """Not through an alias, a fallback, a retry, a probe, or because everybody else is degraded."""
    with GatewayProcess(configuration(rule, all_worlds, servers)) as gateway:
        gateway.wait_ready()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as client:
            for number, world in enumerate(all_worlds):
                check(client, servers, f"w{number}-", world)


def test_the_same_request_without_the_policy_does_reach_the_open_backend(servers: dict[str, FaultyBackend]):
    """The ways that the invariant closes are really there: alias, fallback and retry lead to an open one."""
    plain = Asked("a1", "", False, False, (Status(500), Status(500)))
    world = World(
        served={"m0": RESTRICTED, "m1": ("open-1",), "m2": ("safe-1", "open-2")},
        aliases={"a0": "m0", "a1": "a0", "a2": "m2"},
        fallbacks={"a0": ("m1",)},
        policies=(),
        requests=(plain,),
    )
    tight = World(world.served, world.aliases, world.fallbacks, (("m0", "restricted"),), (plain,))
    own = World(world.served, world.aliases, world.fallbacks, (("m1", "restricted"),), (plain,))
    rule = Rules("smart", breakers=False, on_all_degraded="include", max_retries=5)
    with GatewayProcess(configuration(rule, [world, tight, own], servers)) as gateway:
        gateway.wait_ready()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as client:
            for name in RESTRICTED:
                servers[name].always(Status(500))
            servers["open-1"].forget()
            servers["open-2"].forget()
            assert send(client, "w0-a1", plain) == 200
            assert [post.model for post in servers["open-1"].posts] == ["w0-m1"]
            # The model behind the alias is restricted, or the fallback itself is, or the client says so.
            assert send(client, "w1-a1", plain) == 502
            assert send(client, "w2-a1", plain) == 502
            restricted = Asked("a1", "restricted", True, True, plain.faults)
            assert send(client, "w0-a1", restricted) == 502
            assert send(client, "w0-a2", plain) == 200
            assert send(client, "w0-a2", restricted) == 502
            assert len(servers["open-1"].posts) == 1
            assert [post.model for post in servers["open-2"].posts] == ["w0-m2"]
