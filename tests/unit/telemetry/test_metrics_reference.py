"""The reference page of the metrics is the one that the code makes."""

import pytest

from nexus.telemetry.metric_table import METRICS
from tools import gen_metrics_reference as generator


def test_the_page_is_up_to_date(capsys):
    """`make format` writes it."""
    assert generator.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_every_metric_is_on_the_page():
    """Name, labels and help text, one row each."""
    rows = generator.page().splitlines()
    for spec in METRICS:
        (row,) = (row for row in rows if row.startswith(f"| `{spec.name}` |") and spec.help in row)
        assert all(f"`{label}`" in row for label in spec.labels)


def test_every_metric_is_named_as_prometheus_wants_it():
    """Counters end in `_total`, times are in seconds, histograms have ascending bounds."""
    for spec in METRICS:
        assert spec.name.endswith("_total") == (spec.type == "counter"), spec.name
        assert (spec.type == "histogram") == bool(spec.bounds), spec.name
        assert list(spec.bounds) == sorted(set(spec.bounds)), spec.name
        assert spec.help.endswith("."), spec.name
    assert len({spec.name for spec in METRICS}) == len(METRICS)


def test_an_old_page_is_noticed_and_written_anew(monkeypatch, tmp_path, capsys):
    """And a missing one."""
    page = tmp_path / "metrics.md"
    monkeypatch.setattr(generator, "PAGE", page)
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().err == "metrics.md is out of date: run `make format`\n"
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    page.write_text("old")
    assert generator.main(["--check"]) == 1


@pytest.mark.parametrize("argument", ["--chek", "x"])
def test_a_wrong_argument_is_refused(argument, capsys):
    """Nothing is written."""
    assert generator.main([argument]) == 2
    assert argument in capsys.readouterr().err
