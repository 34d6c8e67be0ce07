"""The example on the page about outcomes prints what the page says."""

import re
import subprocess
import sys
from pathlib import Path

from nexus.outcomes import OutcomeTracker

PAGE = Path(__file__).resolve().parents[3] / "docs" / "outcomes.md"


def test_the_library_example_runs_and_prints_what_the_page_shows():
    [(code, output)] = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == output


def test_every_public_method_of_the_tracker_is_on_the_page():
    text = PAGE.read_text()
    methods = [name for name in dir(OutcomeTracker) if not name.startswith("_")]
    assert [name for name in methods if name not in text] == []
