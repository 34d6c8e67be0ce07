"""`nexus ledger replay`: what another choice of models would have earned."""

import json
import sys
from collections.abc import Callable

import click
import msgspec

from nexus.cli.ledger_place import ledger_place, place_options
from nexus.cli.tables import print_pairs
from nexus.core.receipt import LedgerEntry
from nexus.outcomes.choice.what_if import Estimate, WhatIf, what_if
from nexus.outcomes.choice.what_if_policies import POLICY_FORMS, PolicyError, parse_policy

_FEW = 100
_ROUGHLY_ONE = 0.2


@click.command()
@place_options
@click.option(
    "--policy", "name", required=True, metavar="POLICY", help=f"What to judge: {'; '.join(POLICY_FORMS)}."
)
@click.option(
    "--value",
    type=click.Choice(["quality", "success", "cost", "latency"]),
    default="quality",
    show_default=True,
    help="What to average: quality (0 to 1), success (0 or 1), cost in USD, latency in ms.",
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Only the newest receipts; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    url: str | None,
    data_dir: str | None,
    file: str | None,
    name: str,
    value: str,
    *,
    limit: int,
    as_json: bool,
) -> None:
    """Estimate what another choice of models would have earned.

    Reads the receipts of requests for `auto`. Each has the probability with which its model was chosen, so
    the answers can be weighted as if POLICY had chosen. Shows the mean with a 95 % confidence interval, by
    inverse propensity and self-normalised, beside what was really earned.
    """
    try:
        policy = parse_policy(name)
    except PolicyError as error:
        raise click.BadParameter(str(error), param_hint="--policy") from error
    place = ledger_place(url, data_dir, file)
    place.must_exist()
    with place.open() as store:
        entries = store.read(limit) if limit else store.scan()
        found = what_if(entries, policy, _VALUES[value])
    if as_json:
        fields: dict[str, object] = msgspec.to_builtins(found)
        click.echo(json.dumps({"policy": name, "value": value, **fields}, indent=2))
    else:
        _show(name, value, found)


def _show(name: str, value: str, found: WhatIf) -> None:
    print_pairs(
        (
            ("policy", name),
            ("mean of", value),
            ("receipts", f"{found.used} of {found.receipts} used"),
            ("effective", f"{found.effective:.0f}"),
            ("really", _interval(found.logged)),
            ("inverse propensity", _interval(found.inverse_propensity)),
            ("self-normalised", _interval(found.self_normalised)),
        )
    )
    for warning in _warnings(found):
        click.echo(warning, file=sys.stderr)


def _interval(estimate: Estimate) -> str | None:
    if estimate.mean is None:
        return None
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.4g}"
    return f"{estimate.mean:.4g}  (95 %: {estimate.low:.4g} to {estimate.high:.4g})"


def _warnings(found: WhatIf) -> list[str]:
    """What makes the figures weak."""
    said = []
    if found.not_random:
        said.append(f"{found.not_random} receipts left out: their conversation kept its model")
    if found.not_offered:
        said.append(f"{found.not_offered} receipts left out: the policy can't choose among their candidates")
    if found.effective < _FEW:
        said.append(f"these figures are as good as {found.effective:.0f} answers: too few to decide by")
    if found.used and abs(found.mean_weight - 1.0) > _ROUGHLY_ONE:
        said.append(
            f"the mean weight is {found.mean_weight:.2f} and should be near 1: the receipts hardly cover "
            "what the policy would choose"
        )
    return said


def _success(entry: LedgerEntry) -> float | None:
    return None if entry.success is None else float(entry.success)


_VALUES: dict[str, Callable[[LedgerEntry], float | None]] = {
    "quality": lambda entry: entry.quality,
    "success": _success,
    "cost": lambda entry: entry.cost_usd,
    "latency": lambda entry: entry.latency_ms or None,
}
