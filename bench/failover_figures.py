"""What a run of the failover bench says of a gateway, and the verdict over all of them."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from bench.failover_client import End, Seen
from bench.failover_scenarios import BACKENDS, SCENARIOS, Scenario

WINDOW_SECONDS = 4.0
RECOVERED_SHARE = 0.5


class Figures(Struct, frozen=True):
    """One gateway in one scenario.

    `failures` are all requests without a whole answer, `cut` those of them that broke off after the first
    token. Times to first token are those of whole answers. `time_to_recover_s` counts from the end of the
    fault to the first four seconds in which the backends that failed give half an even share of the answers
    or more; the end of the run where they never do, None where no backend is watched.
    """

    requests: int
    failures: int
    cut: int
    failure_share: float
    ttft_p50_s: float
    ttft_p99_s: float
    time_to_recover_s: float | None

    @property
    def avoidable(self) -> int:
        """Failures before the first token."""
        return self.failures - self.cut


Results = Mapping[str, Mapping[str, Figures]]
"""By scenario, then by gateway."""


def figures(seen: Sequence[Seen], scenario: Scenario) -> Figures:
    """Sum up what the clients of one gateway saw."""
    times = sorted(each.ttft for each in seen if each.end is End.WHOLE)
    failures = len(seen) - len(times)
    return Figures(
        requests=len(seen),
        failures=failures,
        cut=sum(each.end is End.CUT for each in seen),
        failure_share=round(failures / len(seen), 5) if seen else 0.0,
        ttft_p50_s=round(_quantile(times, 0.5), 4),
        ttft_p99_s=round(_quantile(times, 0.99), 4),
        time_to_recover_s=_time_to_recover(seen, scenario),
    )


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def _time_to_recover(seen: Sequence[Seen], scenario: Scenario) -> float | None:
    if not scenario.focus:
        return None
    end = scenario.fault_end
    starts = [end, *sorted(each.at for each in seen if each.at > end and each.backend in scenario.focus)]
    even = len(scenario.focus) / BACKENDS
    for start in starts:
        if start + WINDOW_SECONDS > scenario.seconds:
            break
        inside = [each for each in seen if start <= each.at < start + WINDOW_SECONDS]
        share = sum(each.backend in scenario.focus for each in inside) / max(1, len(inside))
        if share >= RECOVERED_SHARE * even:
            return round(start - end, 2)
    return round(scenario.seconds - end, 2)


def complaints(results: Results) -> list[str]:
    """Where the gateway does not keep what it promises; empty is good."""
    found = []
    for name, by_gateway in results.items():
        ours = by_gateway.get("nexus")
        if ours is None:
            continue
        for peer, theirs in by_gateway.items():
            if theirs.failures < ours.failures:
                found.append(f"{name}: {ours.failures} failures, {peer} has {theirs.failures}")
        if SCENARIOS[name].avoidable and ours.avoidable:
            found.append(f"{name}: {ours.avoidable} failures that a healthy backend could have avoided")
    return found


def markdown(results: Results) -> str:
    """One row per scenario and gateway."""
    lines = [
        "| scenario | gateway | failures of requests | after a token | TTFT p50, ms | p99 | recovery, s |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, by_gateway in results.items():
        for gateway, each in by_gateway.items():
            recover = "" if each.time_to_recover_s is None else f"{each.time_to_recover_s:.1f}"
            lines.append(
                f"| {name} {SCENARIOS[name].title} | {gateway} | {each.failures} of {each.requests} "
                f"({100 * each.failure_share:.1f} %) | {each.cut} | {1000 * each.ttft_p50_s:.0f} "
                f"| {1000 * each.ttft_p99_s:.0f} | {recover} |"
            )
    return "\n".join(lines) + "\n"
