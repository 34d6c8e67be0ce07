"""The bench summarises, compares and prints what it measured, and invents nothing."""

import platform

import msgspec
import pytest

from bench import figures, load, machine, proxies, subjects
from bench.figures import Row, figure
from nexus.cli.main import main


def test_a_figure_is_the_median_with_its_extremes():
    assert figure([3.04, 1.0, 2.0], 1) == figures.Figure(2.0, 1.0, 3.0, (3.0, 1.0, 2.0))
    assert figure([], 1) is None


def rows() -> tuple[Row, ...]:
    return (
        Row("nginx", "plain", rps=figure([50_000], 0), added_us=figure([60], 0)),
        Row("vllm-router", "", reason="vllm-router is not installed (make bench-peers)"),
        Row("nexus", "all", rps=figure([20_000, 30_000], 0), added_us=figure([90], 0), chunks=figure([9], 0)),
    )


def test_ratios_are_ours_over_theirs_where_both_exist():
    assert figures.ratios(rows()) == {"nginx": {"rps": 0.5, "added_us": 1.5}, "vllm-router": {}}


def test_without_our_own_row_there_are_no_ratios():
    assert figures.ratios(rows()[:2]) == {}


def test_an_absent_peer_is_a_blank_row_with_its_reason():
    lines = figures.table(rows()).splitlines()
    blank = next(line for line in lines if line.startswith("vllm-router"))
    assert blank.endswith("vllm-router is not installed (make bench-peers)")
    assert not any(character.isdigit() for character in blank.removesuffix(rows()[1].reason))


def test_the_table_shows_medians_spreads_and_ratios():
    text = figures.table(rows())
    assert "25,000" in text
    assert "±20%" in text
    assert "nexus ÷ nginx: throughput 0.50, added latency 1.50" in text
    assert "nexus ÷ vllm-router" not in text


def test_wrk_output_is_read_from_the_scripts_line():
    text = 'Running 1s test\n\n{"requests":500,"micros":2000000,"p50_us":120.0,"p99_us":300.0,"errors":0}\n'
    parsed = load.parse(text)
    assert parsed.per_second == 250.0
    assert parsed.p50_us == 120.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("connect failed", "no result"),
        ('{"requests":0,"micros":1,"p50_us":0,"p99_us":0,"errors":0}', "nothing was answered"),
    ],
)
def test_a_run_without_a_result_is_an_error_and_not_a_zero(text, reason):
    with pytest.raises(load.LoadError, match=reason):
        load.parse(text)


def test_the_saved_report_reads_back_and_names_no_host(tmp_path):
    made = proxies.report(rows(), {"seconds": 1})
    path = proxies.save(made, tmp_path)
    assert path.name == f"{made.date}-{made.commit.rstrip('+')}.json"
    assert msgspec.json.decode(path.read_bytes(), type=figures.Report) == made
    assert f'"{platform.node()}"' not in path.read_text()
    assert str(machine.ROOT) not in path.read_text()


def test_an_unknown_proxy_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stopped:
        proxies.main(["--only", "nexus,envoi"])
    assert stopped.value.code == 2
    assert "no such proxy: envoi; there are nginx, envoy, vllm-router, " in capsys.readouterr().err


def test_the_gateways_configuration_is_valid(tmp_path):
    path = tmp_path / "nexus.toml"
    path.write_text(subjects.nexus_config(8099, "http://127.0.0.1:8098"))
    assert main(["config", "check", "--config", str(path)]) == 0
