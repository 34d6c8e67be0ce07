"""The page about faults names tests that are there, and `make test-faults` runs all of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "faults.md").read_text()
FILES = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
TESTS = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
LABELS = dict(re.findall(r"`([A-Z])\[…\]`\s(?:is\sa\scase\sof|one\sof)\s+`(test_\w+)`", PAGE))
CASES = sorted(set(re.findall(r"`([A-Z])\[([a-z0-9-]+)\]`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]


def where(test: str) -> list[Path]:
    """The files that have a test of this name."""
    return [path for path, text in FILES.items() if re.search(rf"^(async )?def {test}\(", text, re.MULTILINE)]


def run_by_make() -> list[Path]:
    """The files and folders that `make test-faults` runs."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (listed,) = re.findall(r"^FAULT_TESTS := (.+)$", makefile, re.MULTILINE)
    return [path for each in listed.split() for path in ROOT.glob(each)]


@pytest.mark.parametrize("test", TESTS)
def test_every_named_test_is_there_and_is_run(test):
    paths = where(test)
    assert paths, f"docs/faults.md names {test}, which is nowhere"
    run = run_by_make()
    assert any(path in run or set(path.parents) & set(run) for path in paths), f"make misses {test}"


@pytest.mark.parametrize(("label", "case"), CASES)
def test_every_named_case_is_one_of_its_test(label, case):
    (path,) = where(LABELS[label])
    assert f'"{case}"' in FILES[path], f"{LABELS[label]} has no case {case}"


def test_every_line_names_a_test():
    assert len(ROWS) > 60
    for row in ROWS:
        if not row.startswith(("| fault |", "| what is made up |")):
            assert re.search(r"`(test_\w+|[A-Z]\[[a-z0-9-]+\])`", row), row


def test_every_case_of_the_fault_tests_is_in_the_table():
    """A new fault gets its line."""
    named = {case for _, case in CASES}
    for path in map(where, LABELS.values()):
        known = re.findall(r'(?:Fault|throttled)\(\s*"([a-z0-9-]+)"', FILES[path[0]])
        assert set(known) <= named, f"not in docs/faults.md: {set(known) - named}"
