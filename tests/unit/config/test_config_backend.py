"""From a `[[backends]]` table to the record routing works with."""

import pytest

from nexus.config.backend import BackendSettings, normalise_url, slug
from nexus.config.errors import ConfigError
from nexus.core.backend import Backend, BackendType, Zone


def test_a_backend_needs_only_a_name_and_a_url():
    backend = BackendSettings(name="My GPU Box", url="http://10.0.0.2:8000").to_backend({})
    assert backend == Backend(id="my-gpu-box", name="My GPU Box", url="http://10.0.0.2:8000")


def test_everything_that_is_set_arrives():
    settings = BackendSettings(
        name="Cloud",
        url="https://api.example.com/v1",
        id="c1",
        type="openai",
        priority=10,
        tier=3,
        api_key_env="KEY",
        models=("a", "b"),
        max_concurrency=4,
        headers={"X-Team": "t"},
    )
    assert settings.to_backend({"KEY": " secret\n"}) == Backend(
        id="c1",
        name="Cloud",
        url="https://api.example.com",
        type=BackendType.OPENAI,
        zone=Zone.OPEN,
        tier=3,
        priority=10,
        api_key="secret",
        headers={"X-Team": "t"},
        models=("a", "b"),
        max_concurrency=4,
    )


@pytest.mark.parametrize("kind", list(BackendType))
def test_the_zone_follows_from_the_type_unless_it_is_given(kind):
    settings = BackendSettings(name="a", url="http://h", type=kind.value)
    assert settings.zone == ("open" if kind.is_cloud else "restricted")
    assert BackendSettings(name="a", url="http://h", type=kind.value, zone="open").zone == "open"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h", "http://h"),
        ("http://h/", "http://h"),
        ("http://h/v1", "http://h"),
        ("http://h/v1/", "http://h"),
        ("http://h/openai/v1//", "http://h/openai"),
        ("http://h/v10", "http://h/v10"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_a_url_may_end_in_v1_or_not(url, plain):
    assert normalise_url(url) == plain


@pytest.mark.parametrize(
    ("name", "made"), [("A  b_C!", "a-b-c"), ("Ünï", "n"), ("--", ""), ("llama.cpp", "llama-cpp")]
)
def test_an_id_is_made_of_the_name(name, made):
    assert slug(name) == made


@pytest.mark.parametrize("environ", [{}, {"KEY": " "}])
def test_without_its_key_a_backend_is_refused(environ):
    settings = BackendSettings(name="a", url="http://h", api_key_env="KEY")
    with pytest.raises(ConfigError, match="backend a: the variable KEY is not set"):
        settings.to_backend(environ)
