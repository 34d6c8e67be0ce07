"""What the configuration tests share: loading a text as `nexus.toml` of an empty directory."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nexus.config.errors import ConfigError, Problem
from nexus.config.load import LoadedConfig, load_config

Load = Callable[..., LoadedConfig]
Mistakes = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a file's text with an environment and flags; without a text there is no file."""

    def loader(
        text: str | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
    ) -> LoadedConfig:
        if text is not None:
            (tmp_path / "nexus.toml").write_text(text, encoding="utf-8")
        return load_config(None, {"HOME": "/home/me", **(env or {})}, flags or {}, tmp_path)

    return loader


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    """The problems that loading runs into; fails where there are none."""

    def finder(
        text: str | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
    ) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            load(text, env, flags)
        return caught.value.problems

    return finder
