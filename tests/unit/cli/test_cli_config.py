"""`nexus config`, `nexus serve`, completions, help and exit codes."""

import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest

from nexus import __version__, is_compiled
from nexus.cli.main import main, nexus
from nexus.config.catalogue import all_settings
from nexus.config.load import LoadedConfig
from nexus.core.errors import NexusError

ROOT = Path(__file__).resolve().parents[3]
BAD = "[server]\nport = -1\nworker = 2\n"
VERSION_LINE = f"nexus {__version__}{' (compiled)' if is_compiled() else ''}\n"


def test_init_writes_a_file_that_check_accepts_and_that_changes_nothing(run):
    before = json.loads(run("config", "show", "--json").out)
    written = run("config", "init")
    assert (written.code, written.err) == (0, "")
    assert written.out.startswith("Wrote nexus.toml.")
    checked = run("config", "check")
    assert checked == (0, "nexus.toml: valid, no backends\n", "")
    assert json.loads(run("config", "show", "--json").out) == before


def test_init_does_not_replace_a_file_unless_it_is_forced(run, tmp_path):
    (tmp_path / "nexus.toml").write_text("mine")
    assert run("config", "init") == (1, "", "nexus: nexus.toml is there already; --force replaces it\n")
    assert (tmp_path / "nexus.toml").read_text() == "mine"
    assert run("config", "init", "--force").code == 0
    assert (tmp_path / "nexus.toml").read_text() != "mine"


def test_init_says_why_it_can_not_write(run):
    ran = run("config", "init", "--config", "absent/nexus.toml")
    assert ran == (1, "", "nexus: can't write absent/nexus.toml: No such file or directory\n")


def test_check_names_every_mistake_on_a_line_of_its_own_and_exits_2(run, tmp_path, monkeypatch):
    (tmp_path / "nexus.toml").write_text(BAD)
    monkeypatch.setenv("NEXUS_QUALITY__MIN_SAMPELS", "1")
    ran = run("config", "check", "--retry-jitter", "maybe")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "nexus.toml:2: server.port must be a whole number from 0 to 65535, not -1",
        "nexus.toml:3: unknown key 'worker' in server (did you mean workers?)",
        "NEXUS_QUALITY__MIN_SAMPELS: no such setting (did you mean NEXUS_QUALITY__MIN_SAMPLES?)",
        "--retry-jitter: retry.jitter must be true or false, not 'maybe'",
    ]


def test_check_counts_backends_and_takes_a_file(run, tmp_path):
    (tmp_path / "a.toml").write_text('[[backends]]\nname = "A"\nurl = "http://h"\n')
    assert run("config", "check", "--config", "a.toml").out == "a.toml: valid, 1 backend\n"
    assert run("config", "check").out == "defaults and environment (no file): valid, no backends\n"


def test_show_prints_values_with_their_places(run, tmp_path):
    (tmp_path / "nexus.toml").write_text("[quality]\nmin_samples = 2\n")
    ran = run("config", "show", "--port", "1", "--quality-reward-good")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert "quality.min_samples 2 nexus.toml:2" in lines
    assert "server.port 1 --port" in lines
    assert "quality.reward_good true --quality-reward-good" in lines
    assert "retry.max_retries 2 default" in lines
    assert "routing.budget.monthly_limit_usd - default" in lines


def test_show_as_json_has_a_value_and_a_source_for_every_key(run, monkeypatch):
    monkeypatch.setenv("NEXUS_QUALITY__ERROR_RATE_THRESHOLD", "0.15")
    tables = json.loads(run("config", "show", "--json", "--quality-enabled", "false").out)
    assert tables["quality"]["error_rate_threshold"] == {"value": 0.15, "source": "env"}
    assert tables["quality"]["enabled"] == {"value": False, "source": "flag"}
    assert tables["backends"] == {}


class StandInApp(types.ModuleType):
    """Stands in for the gateway behind `serve`: keeps the configuration and ends with a code."""

    def __init__(self) -> None:
        super().__init__("nexus.app.run")
        self.loaded: list[LoadedConfig] = []
        self.code = 0

    def run(self, loaded: LoadedConfig) -> int:
        self.loaded.append(loaded)
        return self.code


@pytest.fixture
def gateway(monkeypatch):
    module = StandInApp()
    monkeypatch.setitem(sys.modules, "nexus.app.run", module)
    return module


def test_serve_hands_the_configuration_to_the_gateway(run, gateway, tmp_path):
    (tmp_path / "n.toml").write_text("[server]\nworkers = 2\n")
    ran = run("serve", "--config", "n.toml", "--port", "0", "--quality-error-rate-threshold", "0.15")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    config = gateway.loaded[0].config
    assert (config.server.workers, config.server.port) == (2, 0)
    assert config.quality.error_rate_threshold == 0.15


def test_serve_ends_with_the_code_of_the_gateway(run, gateway):
    gateway.code = 1
    assert run("serve").code == 1


def test_serve_starts_nothing_when_the_configuration_is_wrong(run, gateway, tmp_path):
    (tmp_path / "nexus.toml").write_text(BAD)
    ran = run("serve")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 2)
    assert gateway.loaded == []


def test_an_error_meant_for_people_is_its_sentence(run, gateway):
    def fail(_loaded):
        raise NexusError("port 8080 is taken")

    gateway.run = fail
    assert run("serve") == (1, "", "nexus: port 8080 is taken\n")


def test_an_unforeseen_error_is_one_line_unless_the_traceback_is_wanted(run, gateway, monkeypatch):
    def fail(_loaded):
        raise RuntimeError("two\nlines")

    gateway.run = fail
    assert run("serve") == (1, "", "nexus: RuntimeError: two lines (NEXUS_TRACEBACK=1 shows where)\n")
    monkeypatch.setenv("NEXUS_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="two"):
        run("serve")


def test_an_interrupted_verb_exits_130(run, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nexus.cli.client.Gateway.get", interrupt)
    assert run("stats").code == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sreve"], "No such command 'sreve', did you mean serve?"),
        (["xyzzy"], "No such command 'xyzzy'."),
        (["serve", "--prot", "1"], "No such option '--prot'. (Did you mean one of: '--host', '--port'?) See"),
        (["explain"], "Missing option '--model'"),
        (["completions", "tcsh"], "'tcsh' is not one of"),
        (["serve", "extra"], "unexpected extra argument (extra)"),
    ],
)
def test_wrong_usage_is_one_line_with_a_way_on_and_exit_code_2(run, arguments, message):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.startswith("nexus: ")
    assert ran.err.endswith(" --help`.\n")
    assert ran.err.count("\n") == 1


def test_without_a_verb_the_help_goes_to_standard_error(run):
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: nexus" in ran.err


def test_help_lists_every_verb_with_its_whole_sentence(run):
    out = run("--help").out
    for name in nexus.list_commands(click.Context(nexus)):
        assert f"  {name} " in out
    assert "..." not in out.partition("Commands:")[2]


def test_the_help_of_serve_lists_every_setting_under_its_section(run):
    out = run("serve", "--help").out
    assert "[quality] Measuring backends" in out
    assert "--quality-error-rate-threshold NUMBER" in out
    assert "--breaker-first-timeout-seconds NUMBER" in out
    assert "--routing-strategy expected_time|smart|round_robin|priority_only|random" in " ".join(out.split())
    assert out.index("--port") < out.index("--server-port")


def test_the_version_is_printed(run):
    assert run("--version") == (0, VERSION_LINE, "")


def test_the_version_loads_neither_the_configuration_model_nor_tables():
    code = (
        "import sys; from nexus.cli.main import main; main(['--version']);"
        "sys.exit(bool({'pydantic', 'rich', 'msgspec', 'nexus.config.model'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, VERSION_LINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_made_for_each_shell(run, shell):
    ran = run("completions", shell)
    assert (ran.code, ran.err) == (0, "")
    assert f"_NEXUS_COMPLETE={shell}_complete" in ran.out


def test_the_completion_script_of_bash_completes_verbs_and_flags(monkeypatch, capsys):
    monkeypatch.setenv("_NEXUS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "nexus serve --quality-e")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main(["serve"])
    assert capsys.readouterr().out.split() == [
        "plain,--quality-enabled",
        "plain,--quality-error-rate-threshold",
    ]


def test_completing_after_an_unknown_verb_offers_nothing_and_does_not_fail(monkeypatch, capsys):
    monkeypatch.setenv("_NEXUS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "nexus xyzzy --q")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main(["xyzzy"])
    assert capsys.readouterr().out.strip() == ""


def test_a_reader_that_leaves_early_makes_no_noise():
    code = "import sys; from nexus.cli.main import main; sys.exit(main(['config', 'show']))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "")


def test_the_reference_pages_are_current(capsys):
    page_writer = runpy.run_path(str(ROOT / "tools" / "gen_reference.py"))
    assert (page_writer["main"](["--check"]), capsys.readouterr().err) == (0, "")


def test_every_setting_and_every_verb_is_on_a_reference_page():
    folder = ROOT / "docs" / "reference"
    configuration = (folder / "configuration.md").read_text()
    for setting in all_settings():
        for name in (
            setting.key,
            setting.variable,
            setting.flag,
            setting.legacy_variable,
            setting.short_flag,
        ):
            assert not name or f"`{name}`" in configuration
    verbs = (folder / "cli.md").read_text()
    for name in nexus.list_commands(click.Context(nexus)):
        assert f"## `nexus {name}" in verbs
