"""The page about quality runs."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "quality.md"


def test_the_examples_of_the_page_are_true():
    """Every example prints what the page says."""
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0
