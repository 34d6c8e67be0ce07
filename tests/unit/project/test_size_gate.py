"""The size gate refuses what it should, and lets marked exceptions through."""

from pathlib import Path

import pytest

from tools import check_sizes


def breaches(tmp_path: Path, source: str, place: str = "src/nexus/room/part.py") -> list[str]:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return [f"{b.line}: {b.message}" for b in check_sizes.check_file(path, tmp_path)]


def function_of(lines: int, mark: str = "") -> str:
    return f"def long():{mark}\n" + "    x = 1\n" * (lines - 1)


def test_a_module_of_400_lines_passes_and_one_more_does_not(tmp_path):
    assert breaches(tmp_path, "x = 1\n" * 400) == []
    assert breaches(tmp_path, "x = 1\n" * 401) == [
        "1: module has 401 lines, over 400: split it by what it holds"
    ]


def test_a_last_line_without_a_newline_counts(tmp_path):
    assert len(breaches(tmp_path, "x = 1\n" * 400 + "x = 2")) == 1


def test_a_function_of_50_lines_passes_and_one_more_does_not(tmp_path):
    assert breaches(tmp_path, function_of(50)) == []
    assert breaches(tmp_path, function_of(51)) == ["1: function long has 51 lines, over 50: cut it"]
    assert len(breaches(tmp_path, "async " + function_of(51))) == 1


def test_a_marked_function_may_be_longer_but_the_mark_needs_a_reason(tmp_path):
    assert breaches(tmp_path, function_of(51, "  # size: one table, read as a whole")) == []
    assert len(breaches(tmp_path, function_of(51, "  # size:"))) == 1


def test_a_global_statement_is_refused(tmp_path):
    found = breaches(tmp_path, "x = 1\ndef f():\n    global x\n    x = 2\n")
    assert found == ["3: `global`: hold the state in an object that is passed in"]


@pytest.mark.parametrize("caught", ["", " Exception", " BaseException", " (OSError, Exception)"])
def test_a_broad_except_needs_a_reason(tmp_path, caught):
    template = "try:\n    x = 1\nexcept{caught}:{why}\n    x = 2\n"
    assert len(breaches(tmp_path, template.format(caught=caught, why=""))) == 1
    assert len(breaches(tmp_path, template.format(caught=caught, why="  # noqa: BLE001"))) == 1
    why = "  # noqa: BLE001 - an observer must not stop us"
    assert breaches(tmp_path, template.format(caught=caught, why=why)) == []


def test_a_reason_may_stand_below_the_except_line(tmp_path):
    assert (
        breaches(tmp_path, "try:\n    x = 1\nexcept Exception:\n    # an observer's own fault\n    x = 2\n")
        == []
    )


def test_a_narrow_except_and_one_that_raises_again_need_no_reason(tmp_path):
    assert breaches(tmp_path, "try:\n    x = 1\nexcept ValueError:\n    x = 2\n") == []
    assert breaches(tmp_path, "try:\n    x = 1\nexcept Exception:\n    x = 2\n    raise\n") == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_unfinished_work_is_refused_in_the_product(tmp_path, word):
    source = f"x = 1  # {word}: later\n"
    assert len(breaches(tmp_path, source)) == 1
    assert breaches(tmp_path, source, "tests/test_x.py") == []


def test_a_string_that_says_todo_is_no_comment(tmp_path):
    assert breaches(tmp_path, 'x = "# TODO"\n') == []


@pytest.mark.parametrize("raised", ["NotImplementedError", 'NotImplementedError("later")'])
def test_not_implemented_is_refused_in_the_product(tmp_path, raised):
    found = breaches(tmp_path, f"def f():\n    raise {raised}\n")
    assert found == ["2: NotImplementedError: finish it or leave it out"]


def test_print_belongs_to_the_command_line(tmp_path):
    assert len(breaches(tmp_path, "print(1)\n")) == 1
    assert breaches(tmp_path, "print(1)\n", "src/nexus/cli/stats.py") == []
    assert breaches(tmp_path, "print(1)\n", "tools/x.py") == []
    assert breaches(tmp_path, "print(1)  # noqa: T201 - the parent process reads it\n") == []


def test_the_command_names_the_place_and_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(check_sizes, "ROOT", tmp_path)
    breaches(tmp_path, "x = 1\n" * 401)
    assert check_sizes.main(["src"]) == 1
    assert capsys.readouterr().out.startswith("src/nexus/room/part.py:1: module has 401 lines")


def test_the_command_is_silent_about_a_clean_tree(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(check_sizes, "ROOT", tmp_path)
    breaches(tmp_path, "x = 1\n")
    assert check_sizes.main(["src"]) == 0
    assert capsys.readouterr().out == "1 modules checked, all in size\n"
