"""What every dialect must do, run against each type of backend that is supported."""

import json

import pytest

from nexus.core.backend import Backend, BackendType
from nexus.core.request import Surface
from nexus.dialects.base import Dialect, DialectError
from nexus.dialects.table import SUPPORTED_TYPES, UnsupportedTypeError, dialect_for


@pytest.fixture(params=SUPPORTED_TYPES, ids=str)
def backend_type(request: pytest.FixtureRequest) -> BackendType:
    """Each supported type in turn."""
    kind: BackendType = request.param
    return kind


@pytest.fixture
def dialect(backend_type: BackendType) -> Dialect:
    """Its dialect."""
    return dialect_for(backend_type)


@pytest.mark.parametrize("surface", Surface)
def test_every_surface_has_a_path(dialect: Dialect, surface: Surface) -> None:
    """Paths are joined to the base URL, so they start with a slash and do not end with one."""
    path = dialect.target(surface)
    assert path.startswith("/")
    assert not path.endswith("/")


def test_surfaces_have_different_paths(dialect: Dialect) -> None:
    """No two kinds of request go to one endpoint."""
    assert len({dialect.target(surface) for surface in Surface}) == len(Surface)


def test_checks_ask_for_paths_that_cost_nothing(dialect: Dialect) -> None:
    """Neither the health check nor the model list is an inference endpoint."""
    inference = {dialect.target(surface) for surface in Surface}
    for path in (dialect.health_path, dialect.models_path):
        assert path.startswith("/")
        assert path not in inference


def test_the_key_is_sent_when_there_is_one(dialect: Dialect, backend_type: BackendType) -> None:
    """It stands in exactly one header, and there is no header without a key."""
    keyed = Backend("b", "B", "http://b", backend_type, api_key="sk-test")
    carriers = [value for _, value in dialect.auth_headers(keyed) if "sk-test" in value]
    assert len(carriers) == 1
    assert dialect.auth_headers(Backend("b", "B", "http://b", backend_type)) == ()


@pytest.mark.parametrize("surface", Surface)
def test_a_body_for_the_name_asked_is_not_touched(dialect: Dialect, surface: Surface) -> None:
    """The very same bytes object goes upstream."""
    body = b'{ "model":"m", "messages":[] }'
    assert dialect.encode(surface, body, "m", "m") is body


@pytest.mark.parametrize("surface", Surface)
def test_another_name_reaches_the_upstream(dialect: Dialect, surface: Surface) -> None:
    """An alias or a fallback changes the model and keeps the rest."""
    body = b'{"model":"alias","x":{"model":"alias"},"n":1.0}'
    sent = json.loads(dialect.encode(surface, body, "real", "alias"))
    assert sent == {"model": "real", "x": {"model": "alias"}, "n": 1.0}


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"null", b"[]", b"{}", b'{"models":1,"data":1}'])
def test_a_list_of_another_form_is_an_error(dialect: Dialect, body: bytes) -> None:
    """No answer that is not a list of models is taken for an empty one."""
    with pytest.raises(DialectError):
        dialect.parse_models(body)


def test_unknown_fields_are_ignored(dialect: Dialect) -> None:
    """Servers add fields all the time."""
    entry = {"id": "m", "name": "m", "new": {"deep": [1]}, "details": 3, "capabilities": 4, "meta": "x"}
    body = json.dumps({"models": [entry], "data": [entry], "more": True}).encode()
    assert [model.id for model in dialect.parse_models(body)] == ["m"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_decoder_relays_what_is_openai_already(dialect: Dialect, stream: bool) -> None:
    """All dialects so far relay answers untouched."""
    assert dialect.decoder(Surface.CHAT, stream=stream) is None


@pytest.mark.parametrize("kind", [BackendType.ANTHROPIC, BackendType.GOOGLE])
def test_a_type_without_a_dialect_is_refused_with_the_alternatives(kind: BackendType) -> None:
    """The message says what can be used instead."""
    with pytest.raises(UnsupportedTypeError) as caught:
        dialect_for(kind)
    assert f"`{kind}` are not supported yet" in str(caught.value)
    assert "ollama" in str(caught.value)
