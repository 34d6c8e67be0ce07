"""`nexus explain`: where a request would go, and why not elsewhere."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from nexus.cli.client import Gateway, gateway_options
from nexus.cli.tables import Column, cell, percent, print_pairs, print_table

_RANKED = (
    Column("RANK", right=True),
    Column("BACKEND"),
    Column("MODEL"),
    Column("STATUS"),
    Column("SCORE", right=True),
    Column("MADE OF"),
)
_MODELS = (
    Column("RANK", right=True),
    Column("MODEL"),
    Column("UTILITY", right=True),
    Column("QUALITY (90 %)", right=True),
    Column("ANSWERS", right=True),
    Column("PRIOR", right=True),
    Column("COST", right=True),
    Column("TIME", right=True),
    Column("BEST", right=True),
    Column("PROPENSITY", right=True),
)
_EXCLUDED = (
    Column("BACKEND"),
    Column("MODEL"),
    Column("EXCLUDED BY"),
    Column("REASON"),
    Column("WHAT WOULD CHANGE IT"),
)


@click.command()
@click.option("--model", required=True, help="The model asked for.")
@click.option(
    "--file", metavar="PATH", help="A request body as JSON (`-`: standard input); --model replaces its model."
)
@gateway_options
def explain(model: str, file: str | None, url: str, api_key: str, *, as_json: bool) -> None:
    """Show how a request would be routed, and why.

    The gateway decides as it would for a real request, but sends nothing to a backend. Lists every backend
    and model that was considered: the rank and the score with its terms, and for those left out which stage
    objected, why, and what would change that.
    """
    body = {"messages": [{"role": "user", "content": "hello"}]} if file is None else _read_body(file)
    reply = Gateway(url, api_key).post("/v1/routing/explain", {**body, "model": model})
    if as_json:
        click.echo(reply.text)
    else:
        _print(reply.data)


def _read_body(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        body = json.loads(text)
    except OSError as error:
        raise click.BadParameter(f"can't read {file}: {error.strerror}", param_hint="--file") from error
    except ValueError as error:
        raise click.BadParameter(f"{file} is not JSON: {error}", param_hint="--file") from error
    if not isinstance(body, dict):
        raise click.BadParameter(f"{file} holds no JSON object", param_hint="--file")
    return body


def _print(decision: Mapping[str, Any]) -> None:
    request = decision.get("request") or {}
    resolved = request.get("resolved_model")
    model = request.get("model")
    pairs = [
        ("model", model if resolved in (None, model) else f"{model} (alias of {resolved})"),
        ("task", request.get("task")),
        ("needs", _facts(request.get("needs"))),
        ("constraints", _facts(request.get("constraints"))),
        ("outcome", decision.get("outcome")),
        ("chosen", decision.get("chosen")),
        ("reason", decision.get("route_reason")),
    ]
    if decision.get("propensity") is not None:
        pairs.append(("propensity", decision["propensity"]))
    print_pairs(pairs)
    models: Sequence[Mapping[str, Any]] = decision.get("models") or []
    if models:
        print_table(_MODELS, map(_model_row, models), "Models")
    candidates: Sequence[Mapping[str, Any]] = decision.get("candidates") or []
    ranked = [each for each in candidates if each.get("status") != "excluded"]
    excluded = [each for each in candidates if each.get("status") == "excluded"]
    if ranked:
        ranked.sort(key=lambda each: each.get("rank") or len(ranked) + 1)
        print_table(_RANKED, [_ranked_row(each) for each in ranked], "Ranking")
    if excluded:
        keys = ("backend", "model", "excluded_by", "reason", "suggested_action")
        print_table(_EXCLUDED, [[each.get(key) for key in keys] for each in excluded], "Left out")
    if not candidates:
        click.echo("No backend was considered.")


def _model_row(model: Mapping[str, Any]) -> Sequence[Any]:
    """What is known of one model: see docs/auto.md for the terms."""
    terms: Mapping[str, Any] = model.get("terms") or {}
    quality, low, high = (terms.get(name) for name in ("quality", "quality_low", "quality_high"))
    interval = None
    if all(isinstance(each, int | float) for each in (quality, low, high)):
        interval = f"{quality:.3f} ({low:.2f} to {high:.2f})"
    return (
        model.get("rank"),
        model.get("model"),
        _three_digits(model.get("utility")),
        interval,
        _rounded(terms.get("samples")),
        percent(terms.get("prior_share")),
        _three_digits(terms.get("cost_term")),
        _three_digits(terms.get("time_term")),
        percent(terms.get("best")),
        percent(model.get("propensity")),
    )


def _three_digits(value: Any) -> str | None:
    return f"{value:.3f}" if isinstance(value, int | float) else None


def _ranked_row(candidate: Mapping[str, Any]) -> Sequence[Any]:
    return (
        candidate.get("rank"),
        candidate.get("backend"),
        candidate.get("model"),
        candidate.get("status"),
        _number(candidate.get("score")),
        _facts(candidate.get("terms")),
    )


def _facts(table: Any) -> str:
    """`tools=yes, input_tokens=12`: what holds, without what is absent or false."""
    if not isinstance(table, Mapping):
        return ""
    return ", ".join(
        f"{name}={cell(_number(value))}"
        for name, value in table.items()
        if value is not None and value is not False
    )


def _number(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1 else _rounded(value)


def _rounded(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
