"""Every mistake is named with its place, what is allowed, and a suggestion."""

from pathlib import Path

import pytest

from nexus.config.errors import ConfigError, Problem
from nexus.config.load import load_config

FIVE = """\
[server]
port = 99999

[quality]
error_rate_treshold = 0.2
enabled = "yes"

[routing]
aliases = { fast = "quick", quick = "fast" }

[[backends]]
name = "Box"
url = "http://127.0.0.1:1"

[[backends]]
name = "box"
url = "http://127.0.0.1:2"
"""


def test_five_mistakes_of_a_file_are_named_at_once_with_their_lines(mistakes):
    found = mistakes(FIVE)
    assert [(problem.place, problem.hint) for problem in found] == [
        ("nexus.toml:2", ""),
        ("nexus.toml:5", "did you mean error_rate_threshold?"),
        ("nexus.toml:6", ""),
        ("nexus.toml:9", ""),
        ("nexus.toml:16", "give one of them another id"),
    ]
    messages = [problem.message for problem in found]
    assert messages[0] == "server.port must be a whole number from 0 to 65535, not 99999"
    assert messages[1] == "unknown key 'error_rate_treshold' in quality"
    assert messages[2] == "quality.enabled must be true or false, not 'yes'"
    assert messages[3] == "alias cycle: fast -> quick -> fast"
    assert messages[4] == "duplicate backend id 'box', already that of backend 1"


def test_mistakes_of_all_sources_come_together_file_first(mistakes):
    env = {"NEXUS_RETRY__MAX_RETRIES": "x", "NEXUS_QUALITY__MIN_SAMPELS": "1"}
    flags = {"--server-port": "no", "--servr-port": "1"}
    found = mistakes("[server]\nworkers = 0\n", env, flags)
    assert sorted((problem.place, problem.hint) for problem in found) == [
        ("--server-port", ""),
        ("--servr-port", "did you mean --server-port?"),
        ("NEXUS_QUALITY__MIN_SAMPELS", "did you mean NEXUS_QUALITY__MIN_SAMPLES?"),
        ("NEXUS_RETRY__MAX_RETRIES", ""),
        ("nexus.toml:2", ""),
    ]
    assert found[0].place == "nexus.toml:2"
    assert [problem.place[:2] for problem in found] == ["ne", "NE", "NE", "--", "--"]


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("[qualty]\n", 1, "unknown section 'qualty'", "did you mean quality?"),
        ("[rooting.budget]\nx = 1\n", 1, "unknown section 'rooting'", "did you mean routing?"),
        ("prot = 1\n", 1, "unknown section 'prot'", ""),
        (
            "[server]\n\nmax_retries = 1\n",
            3,
            "unknown key 'max_retries' in server",
            "there is one in [retry]",
        ),
        ("[server]\nzzz = 1\n", 2, "unknown key 'zzz' in server", ""),
        ("server = 5\n", 1, "server must be a table, not 5", ""),
        ("data_dir = 5\n", 1, "data_dir must be text, not 5", ""),
        ("[routing]\nstrategy = 'smrt'\n", 2, "must be one of expected_time, smart", "did you mean smart?"),
        ("[routing]\nstrategy = 'fastest'\n", 2, "must be one of expected_time, smart", ""),
        ("[routing]\naliases = { a = 1 }\n", 2, "routing.aliases.a must be text, not 1", ""),
        ("[routing]\nfallbacks = { a = 'b' }\n", 2, "routing.fallbacks.a must be a list, not 'b'", ""),
        ("[routing]\nfallbacks.a = [\n'b',\n1]\n", 4, "routing.fallbacks.a[2] must be text, not 1", ""),
        ("[routing]\naliases = []\n", 2, "routing.aliases must be a table of text, not a list", ""),
        ("[routing]\nweights = { load = -1 }\n", 2, "a number of at least 0, not -1", ""),
        (
            "[routing]\nweights = {priority=0, load=0, latency=0}\n",
            2,
            "at least one weight must be over 0",
            "",
        ),
        ("[routing.budget]\nsoft_limit_percent = 101\n", 2, "a number from 0 to 100, not 101", ""),
        (
            "[[routing.policies]]\nprivacy = 'restricted'\n",
            1,
            "routing.policies[1].model_pattern is missing",
            "",
        ),
        (
            "[timeouts]\nconnect_seconds = 0\n",
            2,
            "timeouts.connect_seconds must be a number over 0, not 0",
            "",
        ),
        (
            "[timeouts]\nconnect_seconds = nan\n",
            2,
            "timeouts.connect_seconds must be a number over 0, not nan",
            "",
        ),
        ("[server]\nport = 80.5\n", 2, "must be a whole number from 0 to 65535, not 80.5", ""),
        ("[server]\nport = true\n", 2, "must be a whole number from 0 to 65535, not true", ""),
        ("[server]\nport = '80'\n", 2, "must be a whole number from 0 to 65535, not '80'", ""),
        ("[server]\nport = {}\n", 2, "must be a whole number from 0 to 65535, not a table", ""),
        ("[server]\nhost = ''\n", 2, "server.host must be text, not empty, not ''", ""),
        ("[quality]\nmetrics_interval_seconds = 0.5\n", 2, "a number of at least 1, not 0.5", ""),
        ("[quality]\nerror_rate_threshold = -0.1\n", 2, "a number of at least 0, not -0.1", ""),
        ("[ledger]\nurl = 'mysql://x'\n", 2, "must be sqlite:/// or jsonl:/// and an absolute path", ""),
        ("[ledger]\nurl = 'sqlite:///nexus.db'\n", 2, "sqlite:////var/lib/nexus/nexus.db", ""),
        ("[ledger]\nurl = 'jsonl:///./a.jsonl'\n", 2, "an absolute path, which makes four slashes", ""),
        ("[ledger]\nurl = 'sqlite:////'\n", 2, "an absolute path", ""),
        ("[logging]\nlevel = 5\n", 2, "logging.level must be one of debug, info", ""),
        (
            "[logging]\ncomponent_levels = { a = 'loud' }\n",
            2,
            "logging.component_levels.a must be 'debug'",
            "",
        ),
        ("[server]\napi_keys_env = 'NO_KEYS'\n", 2, "the variable NO_KEYS is not set", "names a variable"),
    ],
)
def test_a_mistake_says_where_what_and_what_instead(mistakes, text, place, message, hint):
    (problem,) = mistakes(text)
    assert problem.place == f"nexus.toml:{place}"
    assert message in problem.message
    assert hint in problem.hint
    assert bool(hint) == bool(problem.hint)


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ('url = "http://h"', 1, "backends[1].name is missing"),
        ('name = "A"', 1, "backends[1].url is missing"),
        ('name = "A"\nurl = "localhost:80"', 3, "must be an http:// or https:// address"),
        ('name = "A"\nurl = "http://[::1"', 3, "must be an http:// or https:// address"),
        ('name = "A"\nurl = "http://h:99999"', 3, "must be an http:// or https:// address"),
        ('name = "A"\nurl = "http://u:p@h"', 3, "must not have a user"),
        ('name = "A"\nurl = "http://h/?a=1"', 3, "must not have a user, a query"),
        ('name = "A"\nurl = "http://h"\nid = "a b"', 4, "must start with a letter or digit"),
        ('name = "!!"\nurl = "http://h"', 1, "needs an id"),
        ('name = "A"\nurl = "http://h"\ntype = "olama"', 4, "one of generic, openai, vllm"),
        ('name = "A"\nurl = "http://h"\ntier = 0', 4, "a whole number of at least 1, not 0"),
        ('name = "A"\nurl = "http://h"\nheaders = { "a b" = "c" }', 4, "'a b' can't be a header name"),
        (
            'name = "A"\nurl = "http://h"\nheaders = { a = "b\\nc" }',
            4,
            "characters that a header can't carry",
        ),
        ('name = "A"\nurl = "http://h"\n[backends.headers]\nx = 5', 5, "backends[1].headers.x must be text"),
        ('name = "A"\nurl = "http://h"\napi_key_env = "NO_KEY"', 4, "the variable NO_KEY is not set"),
    ],
)
def test_a_mistake_in_a_backend_has_its_own_line(mistakes, lines, line, message):
    (problem,) = mistakes("[[backends]]\n" + lines + "\n")
    assert problem.place == f"nexus.toml:{line}"
    assert message in problem.message


def test_a_backend_that_is_no_table_is_refused(mistakes):
    (problem,) = mistakes("backends = [1]\n")
    assert problem == Problem("nexus.toml:1", "backends[1] must be a table, not 1")


def test_a_secret_never_shows_in_a_message(mistakes):
    text = '[[backends]]\nname = "A"\nurl = "http://h"\nheaders = { Authorization = 1234567 }\n'
    (problem,) = mistakes(text)
    assert "1234567" not in str(problem)
    (problem,) = mistakes("", {"NEXUS_LEDGER__URL": "mysql://u:hunter2@h"})
    assert "hunter2" not in str(problem)


def test_an_empty_key_variable_is_a_mistake_too(mistakes):
    (problem,) = mistakes('[server]\napi_keys_env = "KEYS"\n', {"KEYS": " , "})
    assert problem.message == "the variable KEYS is empty"


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ('a = "a"', "alias cycle: a -> a"),
        ('a = "b", b = "c", c = "b"', "alias cycle: a -> b -> c -> b"),
        (
            'a = "b", b = "c", c = "d", d = "e"',
            "alias chain of 4 hops, at most 3 are allowed: a -> b -> c -> d -> e",
        ),
    ],
)
def test_alias_chains_must_end_within_three_hops(mistakes, aliases, message):
    (problem,) = mistakes(f"[routing]\naliases = {{ {aliases} }}\n")
    assert problem.message == message


def test_an_alias_chain_of_three_hops_is_fine(load):
    assert load('[routing]\naliases = { a = "b", b = "c", c = "d" }\n').config.routing.aliases["a"] == "b"


def test_a_model_is_not_its_own_fallback(mistakes):
    (problem,) = mistakes('[routing]\nfallbacks = { a = ["b", "a"] }\n')
    assert problem.message == "'a' can't be its own fallback"


@pytest.mark.parametrize("chains", ['a = ["b"], b = ["a"]', 'a = ["b", "c"], b = ["d"], c = ["d"]'])
def test_fallback_chains_may_name_each_other(load, chains):
    """They are not followed any further."""
    assert load(f"[routing]\nfallbacks = {{ {chains} }}\n").config.routing.fallbacks["a"][0] == "b"


def test_the_preferred_backend_must_exist(mistakes, load):
    backend = '[[backends]]\nname = "Main"\nurl = "http://h"\n'
    (problem,) = mistakes('[quality]\nfallback_backend = "mian"\n' + backend)
    assert problem == Problem(
        "nexus.toml:2", "'mian' is the id of no backend; known: main", "did you mean main?"
    )
    assert load('[quality]\nfallback_backend = "main"\n' + backend).config.quality.fallback_backend == "main"


def test_the_preferred_backend_may_be_one_that_discovery_finds(mistakes, load):
    text = '[quality]\nfallback_backend = "ollama"\n'
    assert load(text).config.quality.fallback_backend == "ollama"
    (problem,) = mistakes(text + "[discovery]\nenabled = false\n")
    assert problem.message == "'ollama' is the id of no backend; known: none"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[server]\nport = \n", "nexus.toml:2", "not valid TOML"),
        ("[server]\nport = 1\nport = 2\n", "nexus.toml:3", "not valid TOML"),
        ("[server", "nexus.toml:1", "not valid TOML"),
        ("a = 1\nb = [\n", "nexus.toml:3", "not valid TOML"),
    ],
)
def test_a_syntax_error_has_its_line(mistakes, text, place, message):
    (problem,) = mistakes(text)
    assert problem.place == place
    assert message in problem.message


def test_a_broken_file_does_not_hide_the_mistakes_of_other_sources(mistakes):
    found = mistakes("[server", {"NEXUS_SERVER__PORT": "x", "NEXUS_QUALITY__FALLBACK_BACKEND": "b"})
    assert [problem.place for problem in found] == ["nexus.toml:1", "NEXUS_SERVER__PORT"]


def test_a_file_that_can_not_be_read_is_a_mistake(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name, message in (
        ("absent.toml", "can't read the file: No such file or directory"),
        ("binary.toml", "the file is not UTF-8 text"),
        (".", "can't read the file: Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(Path(name), {"HOME": "/h"}, {}, tmp_path)
        assert caught.value.problems == (Problem(name, message),)


def test_a_list_or_table_that_can_not_be_read_names_its_variable(mistakes):
    (problem,) = mistakes(None, {"NEXUS_ROUTING__ALIASES": "{bad"})
    assert problem.place == "NEXUS_ROUTING__ALIASES"
    assert problem.message == "routing.aliases must be a table of text; this is neither JSON nor TOML"


def test_a_variable_can_not_smuggle_in_a_second_value(mistakes):
    (problem,) = mistakes(None, {"NEXUS_SERVER__PORT": "1\nx = 2"})
    assert problem.place == "NEXUS_SERVER__PORT"


def test_a_value_laid_over_a_section_that_is_no_table_leaves_one_clear_mistake(mistakes):
    (problem,) = mistakes("server = 5\n", {}, {"--port": "1"})
    assert problem.message == "server must be a table, not 5"
