"""`nexus explain --model auto` shows what is known of each model."""

from typing import Any

MODEL = {
    "model": "wise",
    "rank": 1,
    "utility": 0.8912,
    "propensity": 0.975,
    "terms": {
        "quality": 0.9,
        "quality_low": 0.81,
        "quality_high": 0.96,
        "samples": 41.26,
        "prior_share": 0.5,
        "cost_term": 0.0,
        "time_term": 0.088,
        "best": 0.93,
        "propensity": 0.975,
    },
}


def shown(run: Any, stand_in: Any, **decision: Any) -> Any:
    told = {"request": {"model": "auto"}, "outcome": "route", "chosen": "one", "candidates": [], **decision}
    stand_in.answer("/v1/routing/explain", told)
    return run("explain", "--model", "auto")


def test_models_are_a_table_of_their_terms(run, stand_in):
    ran = shown(run, stand_in, models=[MODEL], propensity=0.975)
    assert ran.code == 0
    line = next(line for line in ran.out.splitlines() if "wise" in line)
    cells = line.split()
    assert cells[:3] == ["1", "wise", "0.891"]
    assert "0.900 (0.81 to 0.96)" in line
    assert cells[-6:] == ["41.3", "50.0%", "0.000", "0.088", "93.0%", "97.5%"]


def test_terms_that_are_missing_show_a_dash(run, stand_in):
    ran = shown(run, stand_in, models=[{"model": "wise", "rank": 1, "utility": 0.5, "propensity": 1.0}])
    line = next(line for line in ran.out.splitlines() if "wise" in line)
    assert line.split() == ["1", "wise", "0.500", "-", "-", "-", "-", "-", "-", "100.0%"]


def test_without_models_there_is_no_such_table(run, stand_in):
    assert "Models" not in shown(run, stand_in).out
