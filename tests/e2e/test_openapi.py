"""The published description of the API holds: generated requests get the answers that it promises."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from nexus.server.inference import PATHS
from nexus.server.openapi import OPERATIONS, Operation, document
from nexus.testing import FaultyBackend, GatewayProcess

CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    with FaultyBackend() as backend:
        toml = f'[[backends]]\nname = "one"\nurl = "{backend.url}"\ntype = "generic"\n'
        with GatewayProcess(toml) as process:
            process.wait_ready()
            yield process


@pytest.fixture(scope="module")
def api_schema(gateway: GatewayProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
def test_generated_requests_are_answered_as_described(
    api_schema: schemathesis.BaseSchema, operation: Operation, mode: GenerationMode
):
    """Valid and invalid ones alike; nothing is a server error."""
    described = api_schema[operation.path][operation.method]

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def answered_as_described(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    try:
        answered_as_described()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "no valid request could be made"


def test_the_description_is_published_and_names_every_path(gateway: GatewayProcess):
    with urllib.request.urlopen(f"{gateway.url}/openapi.json") as answer:
        published = json.load(answer)
    assert published == json.loads(json.dumps(document()))
    assert {operation.path for operation in OPERATIONS} == set(published["paths"])
    assert {path.decode() for path in PATHS} <= set(published["paths"])


def test_every_link_of_the_front_page_is_described(gateway: GatewayProcess):
    about = json.loads(gateway.text("/"))
    described = {operation.path for operation in OPERATIONS} | {"/openapi.json"}
    assert set(about["links"].values()) <= described
