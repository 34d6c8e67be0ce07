"""What is kept of one agent: a window per model, sketches of its durations, and the figures made of them."""

from collections.abc import Iterable
from typing import Final

from nexus.core.quality import AgentFigures, AgentQualityMetrics, QualityView
from nexus.quality.sketch import HourSketch
from nexus.quality.windows import OutcomeWindow, latest

_US_PER_MS: Final = 1000


class Agent:
    """The windows and sketches of one agent.

    `windows` has one window per model, and under None the outcomes without a window of their own. `streamed`
    holds times to first token, `first_byte` times to the first byte of other answers. Not safe under threads:
    the store locks.
    """

    __slots__ = ("_full_until", "first_byte", "streamed", "windows")

    def __init__(self) -> None:
        self.windows: dict[str | None, OutcomeWindow] = {}
        self.streamed = HourSketch()
        self.first_byte = HourSketch()
        self._full_until = float("-inf")

    def open_window(self, model: str | None, now: float, max_models: int) -> OutcomeWindow:
        """The window for a model that has none: a new one, or the common one where there are too many."""
        if model is not None and len(self.windows) - (None in self.windows) >= max_models:
            model = self._make_room(model, now)
        window = self.windows.get(model)
        if window is None:
            window = self.windows[model] = OutcomeWindow(now)
        return window

    def _make_room(self, model: str, now: float) -> str | None:
        """The model, if one that was idle for an hour could give way to it; else None."""
        if now < self._full_until:
            return None
        for name, window in self.windows.items():
            if name is not None:
                window.settle(now)
                if not any(window.hour.totals):
                    self._fold(name, now)
                    return model
        # A flood of new names is to look for room once per bucket, not once per outcome.
        self._full_until = self.open_window(None, now, 0).bucket_end
        return None

    def _fold(self, model: str, now: float) -> None:
        """Move a model's outcomes to the common window, so that the roll-up keeps them."""
        window = self.windows.pop(model)
        self.open_window(None, now, 0).absorb(window, now)

    def ttft_quantile(self, q: float, now: float) -> float | None:
        """Of the last hour's streams, where there were any, else of its other answers."""
        value = self.streamed.quantile(q, now)
        return value if value is not None else self.first_byte.quantile(q, now)

    def forgive(self, model: str | None, now: float) -> None:
        """Stop judging the outcomes so far of one model, or of all (None)."""
        if model is None:
            for window in self.windows.values():
                window.forgive(now)
        elif model in self.windows:
            self.windows[model].forgive(now)

    def recompute(self, now: float, min_samples: int) -> AgentFigures:
        """The figures as of now. A model that was idle for a day loses its window."""
        windows = self.windows
        for window in windows.values():
            window.settle(now)
        named = [(model, window) for model, window in windows.items() if model is not None]
        models = {}
        for model, window in named:
            if any(window.day.totals):
                models[model] = _pair_view(window, min_samples)
            else:
                self._fold(model, now)
        if len(windows) == 1:
            return AgentFigures(_view(*windows.values()), models)
        return AgentFigures(_rollup(windows.values()), models)


def _view(window: OutcomeWindow) -> QualityView:
    return _figures(
        window.hour.totals,
        window.day.totals,
        window.last_failure,
        window.forgiven.totals if window.forgiven is not None else (0, 0),
    )


def _pair_view(window: OutcomeWindow, min_samples: int) -> QualityView:
    """A pair that has recovered stays its own judge: until it has enough new outcomes it counts as flawless.

    Otherwise it would be judged by the roll-up, where another model's failures could exclude it again.
    """
    view = _view(window)
    if window.forgiven is not None and view.judged_count < min_samples:
        return QualityView(view.metrics, 0.0, min_samples)
    return view


def _rollup(windows: Iterable[OutcomeWindow]) -> QualityView:
    """Sums over all windows; what a pair was forgiven is forgiven here too."""
    hour = [0, 0, 0, 0, 0, 0]
    day = [0, 0]
    forgiven = [0, 0]
    for window in windows:
        for index, total in enumerate(window.hour.totals):
            hour[index] += total
        successes, failures = window.day.totals
        day[0] += successes
        day[1] += failures
        if window.forgiven is not None:
            successes, failures = window.forgiven.totals
            forgiven[0] += successes
            forgiven[1] += failures
    return _figures(hour, day, latest(window.last_failure for window in windows), forgiven)


def _figures(
    hour: list[int], day: list[int], last_failure: float | None, forgiven: list[int] | tuple[int, int]
) -> QualityView:
    successes, failures, streams, stream_us, first_bytes, first_byte_us = hour
    day_successes, day_failures = day
    count = successes + failures
    day_count = day_successes + day_failures
    if streams:
        ttft_ms = stream_us // (streams * _US_PER_MS)
    else:
        ttft_ms = first_byte_us // (first_bytes * _US_PER_MS) if first_bytes else 0
    metrics = AgentQualityMetrics(
        failures / count if count else 0.0,
        ttft_ms,
        day_successes / day_count if day_count else 1.0,
        last_failure,
        count,
    )
    judged_failures = failures - forgiven[1]
    judged_count = count - forgiven[0] - forgiven[1]
    return QualityView(metrics, judged_failures / judged_count if judged_count else 0.0, judged_count)
