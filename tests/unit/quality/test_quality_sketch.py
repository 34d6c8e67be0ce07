"""Quantiles from logarithmic buckets."""

import pytest

from nexus.quality.sketch import MAX_MS, MIN_MS, HourSketch, LogSketch, Packed


def test_an_empty_sketch_has_no_quantile():
    """Nothing counted is None, not zero."""
    assert LogSketch().quantile(0.5) is None


def test_the_ends_are_the_smallest_and_the_largest():
    """q = 0 and q = 1 are within 2 % of the extremes."""
    sketch = LogSketch()
    for value in (3.0, 40.0, 500.0):
        sketch.add(value)
    found = [sketch.quantile(q) for q in (0.0, 0.5, 1.0)]
    assert found == [pytest.approx(value, rel=0.02) for value in (3.0, 40.0, 500.0)]


@pytest.mark.parametrize(("value", "taken_for"), [(0.0, MIN_MS), (MIN_MS, MIN_MS), (8e7, MAX_MS)])
def test_values_beyond_the_range_are_taken_for_its_ends(value, taken_for):
    """No duration is lost or out of bounds."""
    plain, hour = LogSketch(), HourSketch()
    plain.add(value)
    hour.add(value, 0.0)
    assert plain.quantile(0.5) == hour.quantile(0.5, 0.0) == pytest.approx(taken_for, rel=0.02)


def test_merging_adds_and_subtracting_undoes_it():
    """Two sketches together say what one of everything would."""
    one, other, both = LogSketch(), LogSketch(), LogSketch()
    for value in range(1, 100):
        (one if value % 2 else other).add(value)
        both.add(value)
    one.merge(other)
    assert one.counts == both.counts
    assert len(one) == 99
    one.subtract(Packed(other))
    assert len(one) == 50
    assert one.quantile(1.0) == pytest.approx(99, rel=0.02)


def test_what_is_packed_leaves_out_the_empty_ends():
    """A backend's durations lie close together."""
    sketch = LogSketch()
    for value in (20.0, 25.0, 30.0):
        sketch.add(value)
    packed = Packed(sketch)
    assert sum(packed.counts) == 3
    assert packed.counts[0] == packed.counts[-1] == 1
    assert len(packed.counts) < len(sketch.counts) / 10
    assert not any(Packed(LogSketch()).counts)


def test_the_hour_slides():
    """A duration counts for at least 53 minutes and at most an hour."""
    sketch = HourSketch()
    sketch.add(10.0, 0.0)
    sketch.add(1000.0, 2000.0)
    assert sketch.quantile(0.0, 3599.0) == pytest.approx(10, rel=0.02)
    assert sketch.quantile(0.0, 3600.0) == pytest.approx(1000, rel=0.02)
    assert sketch.quantile(0.0, 5599.0) == pytest.approx(1000, rel=0.02)
    assert sketch.quantile(0.0, 5600.0) is None
