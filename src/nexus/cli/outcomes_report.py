"""One look into a repository on behalf of a running gateway."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import msgspec

from nexus.cli.client import Gateway
from nexus.outcomes.code.check import Findings, PendingCode, best_outcomes, look_for
from nexus.outcomes.code.wire import GivenCheck, GivenVerdict, GivenVerdicts, ShownSuggestions

_PATH = "/v1/suggestions"


class Report(NamedTuple):
    """What was found, one entry for each code block; how many answers wait, how many files were left out."""

    verdicts: list[dict[str, Any]]
    waiting: int
    left_out: int


def look_and_report(directory: str, gateway: Gateway) -> Report:
    """Ask the gateway what it waits for, look for it in the repository, and report the verdicts.

    Raises:
        click.ClickException: the gateway does not answer, or not as it should.
        RepositoryError: the repository can't be read; nothing was reported.
    """
    try:
        shown = msgspec.json.decode(gateway.get(_PATH).text, type=ShownSuggestions)
    except msgspec.DecodeError as error:
        raise click.ClickException(f"the gateway's suggestions can't be read: {error}") from error
    now = time.time()  # the gateway's clock may differ: it tells ages
    pending = [
        PendingCode(each.trace_id, now - each.age_seconds, each.fingerprints) for each in shown.suggestions
    ]
    findings = look_for(pending, directory)
    given = _given(pending, findings)
    results = {}
    if pending:
        reply = gateway.post(_PATH, msgspec.to_builtins(given))
        results = {each["trace_id"]: each for each in reply.data["results"]}
    models = {each.trace_id: each.model_id for each in shown.suggestions}
    found = [
        {
            **results[each.trace_id],
            "model_id": models[each.trace_id],
            "block": each.position,
            "code_outcome": each.outcome.value,
            "path": each.path,
            "place": each.place,
            "share": round(each.share, 3),
        }
        for each in findings.verdicts
    ]
    return Report(found, len(given.checked), findings.left_out)


def _given(pending: Sequence[PendingCode], findings: Findings) -> GivenVerdicts:
    outcomes = best_outcomes(findings.verdicts)
    return GivenVerdicts(
        tuple(GivenVerdict(trace_id, outcome) for trace_id, outcome in outcomes.items()),
        tuple(
            GivenCheck(
                each.trace_id, tuple(made.elsewhere for made in findings.renewed.get(each.trace_id, ()))
            )
            for each in pending
            if each.trace_id not in outcomes
        ),
    )
