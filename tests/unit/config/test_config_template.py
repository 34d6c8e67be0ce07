"""The written template, the effective values, and the list of all settings."""

import json
import re
import tomllib

import pytest

from nexus.config.catalogue import Kind, all_settings, section_class, setting_at
from nexus.config.effective import as_tables
from nexus.config.load import load_config
from nexus.config.template import template
from nexus.config.values import masked, plain, to_toml
from nexus.core.masking import MASK


def test_the_template_changes_nothing(load):
    assert (
        load(template()).config
        == load_config(None, {"HOME": "/home/me"}, {}, load("").file.parent / "x").config
    )


def test_with_every_comment_sign_removed_the_template_still_equals_the_defaults(load):
    text = re.sub(r"^#(?=\w)", "", template(), flags=re.MULTILINE)
    loaded = load(text)
    assert loaded.config == load("").config


def test_the_template_names_every_setting():
    tables = tomllib.loads(re.sub(r"^# Example: (?=monthly)|^#(?=\w)", "", template(), flags=re.MULTILINE))
    for setting in all_settings():
        value = tables
        for name in setting.path if setting.key != "backends" else ():
            value = value[name]


def test_every_example_is_a_valid_value(load):
    for setting in all_settings():
        if setting.example:
            text = f"[{setting.section}]\n{setting.name} = {setting.example}\n"
            loaded = load(text, {"NEXUS_API_KEYS": "k", "NEXUS_DISCOVERY__ENABLED": "true"})
            assert loaded.source(setting.key).source == "file"


def test_every_setting_says_what_it_does_in_a_sentence():
    for setting in all_settings():
        assert setting.description.endswith("."), setting.key
        assert setting.is_table or setting.allowed


def test_no_two_settings_share_a_variable_or_a_flag():
    settings = all_settings()
    for names in (
        [s.variable for s in settings] + [s.legacy_variable for s in settings if s.legacy_variable],
        [s.flag for s in settings] + [s.short_flag for s in settings if s.short_flag],
    ):
        assert len(names) == len(set(names))


def test_a_path_leads_to_its_setting():
    found = setting_at(("backends", 1, "tier"))
    assert found is not None
    assert (found.kind, found.allowed) == (Kind.WHOLE, "a whole number of at least 1")
    assert setting_at(("routing", "policies", 0, "privacy")) is not None
    for path in ((), ("server",), ("backends", 0), ("server", "x"), ("routing", "aliases", "a")):
        assert setting_at(path) is None
    assert section_class(("server", "port")) is None


def test_the_effective_values_come_with_their_sources_and_without_secrets(load):
    text = """\
[quality]
min_samples = 2
[routing]
policies = [{ model_pattern = "p*", privacy = "restricted" }]
[ledger]
url = "postgresql://me:hunter2@db/nexus"
[[backends]]
name = "Box"
url = "http://h"
headers = { Authorization = "hunter2" }
"""
    tables = as_tables(load(text, {"NEXUS_SERVER__PORT": "1"}, {"--routing-budget-soft-limit-percent": "10"}))
    assert tables["quality"]["min_samples"] == {"value": 2, "source": "file"}
    assert tables["server"]["port"] == {"value": 1, "source": "env"}
    assert tables["routing.budget"]["soft_limit_percent"] == {"value": 10.0, "source": "flag"}
    assert tables["retry"]["max_retries"] == {"value": 2, "source": "default"}
    policy = {"model_pattern": "p*", "privacy": "restricted", "min_tier": None}
    assert tables["routing"]["policies"] == {"value": [policy], "source": "file"}
    assert tables["data_dir"] == {"value": "/home/me/.local/share/nexus", "source": "default"}
    assert tables["ledger"]["url"]["value"] == f"postgresql://{MASK}@db/nexus"
    assert tables["backends"]["box"]["headers"] == {"value": {"Authorization": MASK}, "source": "file"}
    assert tables["backends"]["box"]["zone"] == {"value": "restricted", "source": "default"}
    assert "hunter2" not in json.dumps(tables)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (2.0, "2"),
        (0.5, "0.5"),
        (7, "7"),
        ('a"b', '"a\\"b"'),
        ((1, "x"), '[1, "x"]'),
        ({}, "{}"),
    ],
)
def test_values_are_written_as_toml(value, written):
    assert to_toml(value) == written
    assert tomllib.loads(f"x = {written}")["x"] == plain(value)


def test_a_masked_url_keeps_all_but_the_user():
    assert masked("postgresql://u:p@w@h/db") == f"postgresql://{MASK}@h/db"
    assert masked("sqlite:////d/nexus.db") == "sqlite:////d/nexus.db"
    assert masked(5) == 5
