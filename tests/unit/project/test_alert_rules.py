"""The shipped alert rules are valid, ask for series that exist, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nexus.telemetry.metric_table import METRICS

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool in the folder of the rules; skips the test where it is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return subprocess.run(
        [found, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
    )


def test_every_series_of_the_rules_is_published():
    """A name with a typing error would be an alert that never fires."""
    published = {each.name for each in METRICS}
    asked = set(re.findall(r"\bnexus_[a-z0-9_]+", (FOLDER / "alerts.yml").read_text(encoding="utf-8")))
    assert asked
    assert asked <= published


def test_the_rules_are_valid():
    checked = promtool("check", "rules", "alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_alerts_fire_when_they_should():
    """And only then: the series and what is expected of them stand beside the rules."""
    tested = promtool("test", "rules", "alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
