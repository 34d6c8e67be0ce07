"""`nexus outcomes git` against a stand-in gateway, and its hook; the end-to-end tests ask a real one."""

import json
import stat
import subprocess

import msgspec
import pytest

from nexus.outcomes import fingerprint
from nexus.outcomes.code.wire import ShownSuggestion, ShownSuggestions
from tests.git_folder import GitFolder, new_repository

PATH = "/v1/suggestions"
CODE = "def total(items, rate):\n    result = sum(items)\n    return result * (1 + rate)\n"


@pytest.fixture
def repo(tmp_path) -> GitFolder:
    return new_repository(tmp_path / "repo")


def waiting(*codes: str) -> str:
    shown = tuple(
        ShownSuggestion(f"t{number}", "m", 5.0, (fingerprint(code),)) for number, code in enumerate(codes)
    )
    return msgspec.json.encode(ShownSuggestions(86_400.0, shown)).decode()


class TestReport:
    def test_nothing_waits(self, run, stand_in, repo):
        stand_in.answer(PATH, waiting())
        ran = run("outcomes", "git", "--repo", str(repo.root))
        assert (ran.code, ran.out, ran.err) == (0, "No suggested code waits.\n", "")
        assert [seen.method for seen in stand_in.seen] == ["GET"]

    def test_what_was_not_found_is_said_to_be_looked_for(self, run, stand_in, repo):
        """So that it can be ignored at its deadline."""
        stand_in.answer(PATH, waiting(CODE))
        script(stand_in, {"results": []})
        ran = run("outcomes", "git", "--repo", str(repo.root))
        assert (ran.code, ran.out) == (0, "0 found, 1 not found yet.\n")
        assert json.loads(stand_in.seen[1].body) == {
            "verdicts": [],
            "checked": [{"trace_id": "t0", "elsewhere": []}],
        }

    def test_verdicts_are_reported_and_shown_with_the_gateways_word(self, run, stand_in, repo):
        """Somebody else may have been quicker."""
        repo.write("one.py", CODE)
        repo.write("binary.py", "\0")
        stand_in.answer(PATH, waiting(CODE))
        script(stand_in, {"results": [{"trace_id": "t0", "applied": False, "reason": "already resolved"}]})
        ran = run("outcomes", "git", "--repo", str(repo.root))
        assert ran.code == 0
        assert ran.out.split()[9:] == [
            *("applied", "m", "one.py", "working", "tree", "100%", "t0", "already", "resolved"),
            *("1", "found,", "0", "not", "found", "yet."),
        ]
        assert ran.err == "Left out, because they are binary, too large or too many: 1\n"
        assert json.loads(stand_in.seen[1].body)["verdicts"] == [
            {"trace_id": "t0", "code_outcome": "applied"}
        ]

    def test_json(self, run, stand_in, repo):
        repo.write("one.py", CODE)
        stand_in.answer(PATH, waiting(CODE, "x = 1"))
        script(stand_in, {"results": [{"trace_id": "t0", "applied": True}]})
        ran = run("outcomes", "git", "--repo", str(repo.root), "--json")
        assert json.loads(ran.out) == {
            "verdicts": [
                {
                    "trace_id": "t0",
                    "applied": True,
                    "model_id": "m",
                    "block": 0,
                    "code_outcome": "applied",
                    "path": "one.py",
                    "place": "working tree",
                    "share": 1.0,
                }
            ],
            "waiting": 1,
            "left_out": 0,
        }

    def test_the_repository_is_the_working_directory_by_default(self, run, stand_in, repo, monkeypatch):
        monkeypatch.chdir(repo.root)
        repo.write("one.py", CODE)
        stand_in.answer(PATH, waiting(CODE))
        script(stand_in, {"results": [{"trace_id": "t0", "applied": True}]})
        assert run("outcomes", "git").out.endswith("1 found, 0 not found yet.\n")

    def test_what_is_wrong_is_one_line(self, run, stand_in, tmp_path):
        stand_in.answer(PATH, waiting(CODE))
        ran = run("outcomes", "git", "--repo", str(tmp_path / "absent"))
        assert (ran.code, ran.err) == (1, f"nexus: {tmp_path / 'absent'} is no directory\n")
        assert [seen.method for seen in stand_in.seen] == ["GET"]
        stand_in.answer(PATH, {"suggestions": 3})
        ran = run("outcomes", "git", "--repo", str(tmp_path))
        assert ran.code == 1
        assert ran.err.startswith("nexus: the gateway's suggestions can't be read: ")
        ran = run("outcomes", "git", "--url", "http://127.0.0.1:1")
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "no gateway answers" in ran.err


def script(stand_in, reply) -> None:
    """Answer the first request with what is there, those after it with `reply`."""
    first = stand_in.answers[PATH]
    rest = (200, json.dumps(reply).encode())

    class Answers(dict[str, tuple[int, bytes]]):
        def __getitem__(self, path: str) -> tuple[int, bytes]:
            return first if len(stand_in.seen) == 1 else rest

    stand_in.answers = Answers()


class TestHook:
    def hook(self, repo: GitFolder):
        return repo.root / ".git" / "hooks" / "post-commit"

    def test_a_new_hook_runs_in_the_background_and_goes_without_a_trace(self, run, repo):
        ran = run("outcomes", "git", "--repo", str(repo.root), "--install-hook")
        path = self.hook(repo)
        assert (ran.code, ran.out) == (0, f"Every commit reports to the gateway now: {path}\n")
        assert path.stat().st_mode & stat.S_IXUSR
        text = path.read_text()
        assert text.startswith("#!/bin/sh\n# nexus: begin\n")
        assert text.rstrip().endswith("# nexus: end")
        assert " outcomes git </dev/null >/dev/null 2>&1 &)" in text
        subprocess.run(["sh", "-n", str(path)], check=True)
        assert run("outcomes", "git", "--repo", str(repo.root), "--install-hook").code == 0
        assert path.read_text() == text
        ran = run("outcomes", "git", "--repo", str(repo.root), "--remove-hook")
        assert (ran.code, ran.out) == (0, f"Commits report nothing any more: {path}\n")
        assert not path.exists()
        ran = run("outcomes", "git", "--repo", str(repo.root), "--remove-hook")
        assert (ran.code, ran.out) == (0, f"There is nothing of Nexus in {path}\n")

    def test_an_address_is_written_and_a_key_is_not(self, run, repo):
        """Whatever is in the address, the shell takes it as one word."""
        url = "http://127.0.0.1:9/$(touch x)"
        run("outcomes", "git", "--repo", str(repo.root), "--url", url, "--api-key", "k3y", "--install-hook")
        text = self.hook(repo).read_text()
        assert "'http://127.0.0.1:9/$(touch x)'" in text
        assert "k3y" not in text

    def test_a_hook_that_is_there_is_kept(self, run, repo):
        """Ours comes first, because the other may end early; it goes again without harm."""
        path = self.hook(repo)
        path.parent.mkdir(exist_ok=True)
        before = '#!/usr/bin/env bash\necho "$1"\nexit 0\n'
        path.write_text(before)
        path.chmod(0o700)
        assert run("outcomes", "git", "--repo", str(repo.root), "--install-hook").code == 0
        lines = path.read_text().splitlines()
        assert (lines[0], lines[1], lines[-1]) == ("#!/usr/bin/env bash", "# nexus: begin", "exit 0")
        assert run("outcomes", "git", "--repo", str(repo.root), "--remove-hook").code == 0
        assert path.read_text() == before
        assert stat.S_IMODE(path.stat().st_mode) & 0o700 == 0o700

    @pytest.mark.parametrize("text", ["#!/usr/bin/env python3\nprint(1)\n", "no script", ""])
    def test_a_hook_that_is_no_shell_script_is_left_alone(self, run, repo, text):
        """The line to add is named."""
        path = self.hook(repo)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        ran = run("outcomes", "git", "--repo", str(repo.root), "--install-hook")
        assert ran.code == 1
        assert ran.err.startswith(f"nexus: {path} is no shell script; add this to it yourself: ")
        assert path.read_text() == text

    def test_a_folder_of_hooks_that_is_configured_is_used(self, run, repo, tmp_path):
        repo.git("config", "core.hooksPath", str(tmp_path / "shared hooks"))
        assert run("outcomes", "git", "--repo", str(repo.root), "--install-hook").code == 0
        assert (tmp_path / "shared hooks" / "post-commit").exists()

    def test_a_work_tree_of_its_own_uses_the_same_hook(self, run, repo, tmp_path):
        repo.git("worktree", "add", "-q", str(tmp_path / "second"))
        assert run("outcomes", "git", "--repo", str(tmp_path / "second"), "--install-hook").code == 0
        assert self.hook(repo).exists()

    def test_what_cannot_be_written_is_one_line(self, run, repo):
        self.hook(repo).mkdir(parents=True)
        for flag in ("--install-hook", "--remove-hook"):
            ran = run("outcomes", "git", "--repo", str(repo.root), flag)
            assert ran.code == 1
            assert ran.err.startswith(f"nexus: can't write {self.hook(repo)}: ")

    def test_outside_of_a_repository_there_is_no_hook(self, run, tmp_path):
        (tmp_path / "plain").mkdir()
        ran = run("outcomes", "git", "--repo", str(tmp_path / "plain"), "--install-hook")
        assert ran.code == 1
        assert "not a git repository" in ran.err
