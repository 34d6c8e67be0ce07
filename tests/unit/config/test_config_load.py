"""Where values come from and which one counts."""

from pathlib import Path

import pytest

from nexus.config.errors import ConfigError
from nexus.config.load import load_config, restart_needed
from nexus.config.model import Config

FILE = "[quality]\nmin_samples = 2\n"
ENV = {"NEXUS_QUALITY__MIN_SAMPLES": "3"}
FLAG = {"--quality-min-samples": "4"}


def test_without_any_source_every_value_is_the_default(load):
    loaded = load()
    assert loaded.file is None
    assert loaded.config.quality == Config().quality
    assert loaded.config.server == Config().server
    assert {origin.source for origin in loaded.sources.values()} == {"default"}


@pytest.mark.parametrize(
    ("text", "env", "flags", "expected"),
    [
        (None, {}, {}, (5, "default", "")),
        (FILE, {}, {}, (2, "file", "nexus.toml:2")),
        (FILE, ENV, {}, (3, "env", "NEXUS_QUALITY__MIN_SAMPLES")),
        (FILE, ENV, FLAG, (4, "flag", "--quality-min-samples")),
        (None, {}, FLAG, (4, "flag", "--quality-min-samples")),
    ],
)
def test_flag_beats_environment_beats_file_beats_default(load, text, env, flags, expected):
    loaded = load(text, env, flags)
    assert (loaded.config.quality.min_samples, *loaded.source("quality.min_samples")[:2]) == expected


@pytest.mark.parametrize(
    ("variable", "raw", "key", "value"),
    [
        ("LOG_LEVEL", "WARNING", "logging.level", "warning"),
        ("LOG_LEVEL", "warn", "logging.level", "warning"),
        ("RATE_LIMIT_PER_SECOND", "2.5", "rate_limit.per_second", 2.5),
        ("RATE_LIMIT_BURST", "7", "rate_limit.burst", 7),
        ("LLM_CB_FAILURE_THRESHOLD", "9", "breaker.failure_threshold", 9),
        ("LLM_CB_TIMEOUT_SECONDS", "15", "breaker.timeout_seconds", 15.0),
        ("LLM_TIMEOUT_SECONDS", "90", "timeouts.total_seconds", 90.0),
        ("MAX_RETRIES", "1", "retry.max_retries", 1),
        ("INITIAL_RETRY_DELAY", ".5", "retry.initial_delay_seconds", 0.5),
        ("MAX_RETRY_DELAY", "8", "retry.max_delay_seconds", 8.0),
    ],
)
def test_a_legacy_variable_is_read_for_its_setting(load, variable, raw, key, value):
    loaded = load(None, {variable: raw})
    section, _, name = key.partition(".")
    assert getattr(getattr(loaded.config, section), name) == value
    assert loaded.source(key) == ("env", variable, 0)


def test_a_legacy_variable_yields_to_its_nexus_twin_and_beats_the_file(load):
    text = "[retry]\nmax_retries = 5\n"
    assert load(text, {"MAX_RETRIES": "1"}).config.retry.max_retries == 1
    both = load(text, {"MAX_RETRIES": "1", "NEXUS_RETRY__MAX_RETRIES": "3"})
    assert both.config.retry.max_retries == 3
    assert both.source("retry.max_retries").place == "NEXUS_RETRY__MAX_RETRIES"


def test_short_flags_stand_for_host_port_and_log_level(load):
    config = load(None, {}, {"--host": "0.0.0.0", "--port": "9", "--log-level": "DEBUG"}).config
    assert (config.server.host, config.server.port, config.logging.level) == ("0.0.0.0", 9, "debug")


@pytest.mark.parametrize(
    ("variable", "raw", "read"),
    [
        ("NEXUS_SERVER__PORT", "8_081", lambda c: c.server.port == 8081),
        ("NEXUS_SERVER__HOST", "::1", lambda c: c.server.host == "::1"),
        ("NEXUS_SERVER__HOST", '"::1"', lambda c: c.server.host == "::1"),
        ("NEXUS_SERVER__API_KEYS_ENV", "", lambda c: c.server.api_keys_env == ""),
        ("NEXUS_SERVER__WORKERS", " ", lambda c: c.server.workers == 1),
        ("NEXUS_QUALITY__ENABLED", "False", lambda c: c.quality.enabled is False),
        (
            "NEXUS_ROUTING__BUDGET__MONTHLY_LIMIT_USD",
            "12",
            lambda c: c.routing.budget.monthly_limit_usd == 12.0,
        ),
        (
            "NEXUS_ROUTING__BUDGET__MONTHLY_LIMIT_USD",
            "none",
            lambda c: c.routing.budget.monthly_limit_usd is None,
        ),
        ("NEXUS_ROUTING__ALIASES", '{"a": "b"}', lambda c: c.routing.aliases == {"a": "b"}),
        ("NEXUS_ROUTING__ALIASES", '{a = "b"}', lambda c: c.routing.aliases == {"a": "b"}),
        ("NEXUS_ROUTING__FALLBACKS", '{"a": ["b"]}', lambda c: c.routing.fallbacks == {"a": ("b",)}),
        ("NEXUS_ROUTING__WEIGHTS", '{"load": 1}', lambda c: c.routing.weights.load == 1),
        (
            "NEXUS_LOGGING__COMPONENT_LEVELS",
            '{"x": "INFO"}',
            lambda c: c.logging.component_levels == {"x": "info"},
        ),
        ("NEXUS_BACKENDS", '[{"name": "A", "url": "http://h"}]', lambda c: c.backends[0].id == "a"),
    ],
)
def test_a_variable_is_read_as_its_setting_needs(load, variable, raw, read):
    assert read(load(None, {variable: raw}).config)


def test_a_table_given_whole_yields_to_a_key_given_alone(load):
    env = {"NEXUS_ROUTING__WEIGHTS__LOAD": "2", "NEXUS_ROUTING__WEIGHTS": '{"load": 1, "latency": 3}'}
    loaded = load("[routing.weights]\npriority = 9\n", env)
    weights = loaded.config.routing.weights
    assert (weights.priority, weights.load, weights.latency) == (50, 2, 3)
    assert loaded.source("routing.weights.load").place == "NEXUS_ROUTING__WEIGHTS__LOAD"
    assert loaded.source("routing.weights.latency").place == "NEXUS_ROUTING__WEIGHTS"
    assert loaded.source("routing.weights.priority").source == "default"


def test_other_variables_are_none_of_our_business(load):
    env = {"NEXUS_API_KEYS": "x", "NEXUS_CONFIG": "", "NEXUS_DATA_DIR": "", "PATH": "/bin", "A__B": "1"}
    assert load(None, env).config.server == Config().server


def test_the_file_named_by_a_variable_is_read_and_an_option_beats_it(tmp_path):
    (tmp_path / "one.toml").write_text("[server]\nport = 1\n")
    (tmp_path / "two.toml").write_text("[server]\nport = 2\n")
    env = {"NEXUS_CONFIG": "one.toml", "HOME": "/h"}
    assert load_config(None, env, {}, tmp_path).config.server.port == 1
    named = load_config(tmp_path / "two.toml", env, {}, tmp_path)
    assert named.config.server.port == 2
    assert named.file == tmp_path / "two.toml"
    assert named.source("server.port").place == "two.toml:2"


def test_a_file_elsewhere_is_named_with_its_whole_path(tmp_path):
    file = tmp_path / "nexus.toml"
    file.write_text("[server]\nport = 1\n")
    loaded = load_config(file, {"HOME": "/h"}, {}, Path("/"))
    assert loaded.source("server.port").place.endswith("nexus.toml:2")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    (tmp_path / "nexus.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    loaded = load_config(None, {"HOME": "/h"}, {}, tmp_path)
    assert loaded.source("server.port").place == "nexus.toml:2"


def test_the_data_directory_has_a_default_place_and_can_be_moved(load, tmp_path):
    assert load().config.data_dir == Path("/home/me/.local/share/nexus")
    assert load(None, {"XDG_DATA_HOME": "/x"}).config.data_dir == Path("/x/nexus")
    assert load(None, {"NEXUS_DATA_DIR": "~/d"}).config.data_dir == Path("/home/me/d")
    assert load(None, {}, {"--data-dir": "d"}).config.data_dir == tmp_path / "d"


def test_a_relative_data_directory_of_a_file_starts_beside_the_file(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "n.toml").write_text('data_dir = "data"\n')
    loaded = load_config(Path("etc/n.toml"), {"HOME": "/h"}, {}, tmp_path)
    assert loaded.config.data_dir == tmp_path / "etc" / "data"
    assert loaded.source("data_dir") == ("file", "etc/n.toml:1", 1)


def test_the_ledger_is_in_the_data_directory_unless_it_is_placed(load):
    assert load(None, {"NEXUS_DATA_DIR": "/d"}).config.ledger.url == "sqlite:////d/nexus.db"
    assert load(None, {"NEXUS_DATA_DIR": "/d"}).source("ledger.url").source == "default"
    assert load(None, {"NEXUS_LEDGER__URL": "none"}).config.ledger.url == "none"
    assert load('[ledger]\nurl = ""\n').config.ledger.url.startswith("sqlite:////home/me")


def test_the_keys_of_a_backend_have_sources_of_their_own(load):
    loaded = load('[[backends]]\nname = "A"\nurl = "http://h"\ntier = 2\n')
    assert loaded.sources["backends", 0, "tier"].place == "nexus.toml:4"
    assert loaded.sources["backends", 0, "zone"].source == "default"
    flagged = load(None, {}, {"--backends": '[{"name": "B", "url": "http://h"}]'})
    assert flagged.sources["backends", 0, "url"].place == "--backends"


def test_what_a_reload_can_not_change_is_named(load):
    old = load().config
    new = load("[server]\nport = 1\n[quality]\nmin_samples = 1\n[routing.weights]\nload = 1\n").config
    assert restart_needed(old, new) == ("server.port",)
    assert restart_needed(old, old) == ()


def test_a_configuration_can_not_be_changed(load):
    config = load().config
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1


def test_an_error_carries_one_line_per_problem(load):
    with pytest.raises(ConfigError, match=r"nexus\.toml:2: .*; nexus\.toml:3: ") as caught:
        load("[server]\nport = -1\nworkers = 0\n")
    assert len(caught.value.problems) == 2
