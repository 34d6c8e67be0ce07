"""A configuration that makes no sense is refused with the field's name and value."""

import pytest

from nexus.quality import QualityConfig


def test_the_defaults():
    """The rule that holds when nothing is said."""
    config = QualityConfig()
    assert config.error_rate_threshold == 0.5
    assert config.ttft_penalty_threshold_ms == 3000
    assert config.metrics_interval_seconds == 30
    assert config.min_samples == 5


def test_it_is_frozen():
    """A configuration in use does not change under the store."""
    with pytest.raises(AttributeError):
        QualityConfig().min_samples = 1  # type: ignore[misc]


@pytest.mark.parametrize("threshold", [0, 1.0, 7.5, float("inf")])
def test_any_threshold_from_zero_is_fine(threshold):
    """1.0 and more are ways to say never."""
    assert QualityConfig(error_rate_threshold=threshold).error_rate_threshold == threshold


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("error_rate_threshold", -0.1),
        ("error_rate_threshold", float("nan")),
        ("ttft_penalty_threshold_ms", -1),
        ("metrics_interval_seconds", 0),
        ("metrics_interval_seconds", float("inf")),
        ("metrics_interval_seconds", float("nan")),
        ("min_samples", 0),
        ("max_models", 0),
    ],
)
def test_nonsense_is_refused(field, value):
    """The message names the field and shows what was given."""
    with pytest.raises(ValueError, match=rf"^{field} must be .*, got {value!r}$"):
        QualityConfig(**{field: value})
