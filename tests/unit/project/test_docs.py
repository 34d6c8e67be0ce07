"""The documentation hangs together: every page is in the index, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from nexus.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """The id that a heading gets on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{named(page)} links to {target}, which is not there"
        if fragment:
            headings = {anchor(text) for text in HEADING.findall(place.read_text())}
            assert fragment in headings, f"{named(page)} links to {target}, which has no such heading"


def test_every_page_is_in_the_index():
    index = {(DOCS / link).resolve() for link in LINK.findall((DOCS / "README.md").read_text())}
    missing = {named(page) for page in DOCS.rglob("*.md")} - {
        named(p) for p in index if p.is_relative_to(ROOT)
    }
    assert missing == {"docs/README.md"}


def test_decision_records_are_numbered_without_gaps_and_have_their_three_parts():
    records = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for number, path in enumerate(records, start=1):
        text = path.read_text()
        assert text.startswith(f"# {number}. ")
        assert HEADING.findall(text)[1:] == ["Context", "Decision", "Consequences"]


def test_the_architecture_page_shows_the_rows_that_the_gate_enforces():
    pyproject = (ROOT / "pyproject.toml").read_text()
    rows = re.search(r"^layers = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    assert rows
    enforced = [sorted(re.findall(r"\w+", line)) for line in rows[1].splitlines()]
    page = (DOCS / "architecture.md").read_text()
    shown = re.search(r"^```\n(cli\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown
    existing = {path.stem for path in (ROOT / "src" / "nexus").iterdir()}
    there = [[room for room in row if room in existing] for row in enforced]
    listed = [
        sorted(room for room in re.findall(r"\w+", line) if room in existing)
        for line in shown[1].splitlines()
    ]
    assert listed == there


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_the_example_configurations_are_valid(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    examples = TOML.findall((ROOT / name).read_text())
    assert examples
    for example in examples:
        path = tmp_path / "nexus.toml"
        path.write_text(example)
        assert main(["config", "check", "--config", str(path)]) == 0, capsys.readouterr().err
