"""What became of suggested code, found out in real git repositories."""

import os
import subprocess

import pytest

from nexus.outcomes import OutcomeTracker, RepositoryError, check_repository, fingerprint
from nexus.outcomes.code import repository
from nexus.testing import ManualClock
from tests.git_folder import BASE, GitFolder, new_repository, suggest

TOTAL = '''def total(items, rate):
    """Add up prices."""
    result = 0
    for item in items:
        result += item.price * item.count
    return result * (1 + rate)
'''
EDITED = TOTAL.replace("item.price * item.count", "item.price")
STACK = """class Stack:
    def __init__(self):
        self.entries = []

    def push(self, entry):
        self.entries.append(entry)
        return len(self.entries)
"""


@pytest.fixture
def repo(tmp_path) -> GitFolder:
    return new_repository(tmp_path / "repo")


@pytest.fixture
def tracker() -> OutcomeTracker:
    return OutcomeTracker()


def outcomes(tracker: OutcomeTracker, repo: GitFolder) -> dict[str, str]:
    return {each.trace_id: each.outcome.value for each in check_repository(tracker, repo.root)}


def test_six_fates_each_told_once_however_often_it_is_looked_at(repo):
    """Verbatim, edited, committed, staged only, untracked and ignored suggestions, polled five times."""
    clock = ManualClock()
    tracker = OutcomeTracker(clock)
    codes = {
        name: TOTAL.replace("total", f"total_{name}").replace("price", f"{name}_price").replace("rate", name)
        for name in ("verbatim", "edited", "committed", "staged", "untracked", "ignored")
    }
    calls = {name: suggest(tracker, code) for name, code in codes.items()}
    repo.write("done.py", codes["committed"])
    repo.git("add", "done.py")
    repo.git("commit", "-q", "-m", "y")
    repo.write("staged.py", codes["staged"])
    repo.git("add", "staged.py")
    (repo.root / "staged.py").unlink()
    repo.write("base.py", BASE + "\n\n" + codes["verbatim"])
    repo.write("sub/new.py", "import os\n\n\n" + codes["untracked"])
    repo.write("notes.txt", codes["edited"].replace("result = 0", "result = 0.0  # money"))
    seen = [check_repository(tracker, repo.root) for _ in range(5)]
    clock.advance(86_400.0)
    seen += [check_repository(tracker, repo.root) for _ in range(5)]
    found = [(each.trace_id, each.outcome.value, each.path) for verdicts in seen for each in verdicts]
    assert sorted(found) == sorted(
        [
            (calls["verbatim"], "applied", "base.py"),
            (calls["committed"], "applied", "done.py"),
            (calls["staged"], "applied", "staged.py"),
            (calls["untracked"], "applied", "sub/new.py"),
            (calls["edited"], "modified", "notes.txt"),
            (calls["ignored"], "ignored", None),
        ]
    )
    places = {each.path: (each.place or "").split()[0] for each in seen[0]}
    assert places == {
        "base.py": "working",
        "done.py": "commit",
        "staged.py": "index",
        "sub/new.py": "working",
        "notes.txt": "working",
    }
    assert tracker.pending_trace_ids() == []
    [profile] = tracker.all_profiles()
    assert (profile.total_calls, profile.success_count, profile.fail_count) == (6, 5, 1)
    receipts = tracker.drain_ledger()
    assert len(receipts) == 6
    assert {receipt.signal for receipt in receipts} == {"git"}
    assert sorted(receipt.quality or 0.0 for receipt in receipts) == [0.1, 0.6, 1.0, 1.0, 1.0, 1.0]


def test_two_models_suggestions_in_two_files_are_told_apart(repo, tracker):
    """Each model gets the verdict of its own file, although the suggestions resemble each other."""
    verbatim = suggest(tracker, TOTAL, model="one")
    edited = suggest(tracker, TOTAL.replace("total", "charge") + "\n\n" + STACK, model="two")
    repo.write("one.py", TOTAL)
    repo.write("two.txt", STACK.replace("push", "add"))
    verdicts = {each.trace_id: each for each in check_repository(tracker, repo.root)}
    assert (verdicts[verbatim].outcome, verdicts[verbatim].path) == ("applied", "one.py")
    assert (verdicts[edited].outcome, verdicts[edited].path) == ("modified", "two.txt")


def test_code_like_that_of_another_suggestion_is_no_use_of_it_now_or_later(repo, tracker):
    """What one suggestion explains says nothing of a similar one, also when the first is resolved already."""
    used = suggest(tracker, TOTAL, model="one")
    similar = suggest(tracker, EDITED, model="two")
    repo.write("one.py", TOTAL)
    assert outcomes(tracker, repo) == {used: "applied"}
    repo.commit()
    assert outcomes(tracker, repo) == {}
    repo.write("two.py", EDITED)
    assert outcomes(tracker, repo) == {similar: "applied"}


def test_the_same_suggestion_of_two_models_is_applied_for_both(repo, tracker):
    """Nobody can tell whose it is, and both were right."""
    calls = [suggest(tracker, TOTAL, model=model) for model in ("one", "two")]
    repo.write("one.py", TOTAL)
    assert outcomes(tracker, repo) == dict.fromkeys(calls, "applied")


def test_an_edited_copy_of_the_same_suggestion_counts_for_both(repo, tracker):
    """Equal fingerprints share what is found of them."""
    calls = [suggest(tracker, TOTAL, model=model) for model in ("one", "two")]
    repo.write("one.txt", EDITED)
    assert outcomes(tracker, repo) == dict.fromkeys(calls, "modified")


@pytest.mark.parametrize(
    ("old", "suggested", "now", "verdict"),
    [
        (TOTAL, TOTAL.replace("= 0", "= start"), None, "applied"),
        (
            TOTAL,
            TOTAL.replace("items, rate", "items, rate, start=0, tax=None").replace("= 0", "= start"),
            TOTAL.replace("items, rate", "items, rate, start=0, tax=None"),
            "signature_changed",
        ),
        (
            TOTAL,
            TOTAL.replace("item.price * item.count", "item.price * item.count * item.share - item.rebate"),
            TOTAL.replace("item.price * item.count", "item.price * item.count * item.share - 1"),
            "body_modified",
        ),
        (TOTAL, STACK, TOTAL + "\n\n" + STACK.replace("push", "add"), "symbol_added"),
    ],
)
def test_the_symbols_that_changed_say_how_a_part_was_used(repo, old, suggested, now, verdict):
    """A changed signature, a changed body, a new symbol; a whole suggestion is just applied."""
    tracker = OutcomeTracker()
    repo.commit(code_py=old)
    call = suggest(tracker, suggested)
    repo.write("code.py", suggested if now is None else now)
    assert outcomes(tracker, repo) == {call: verdict}


def test_a_part_that_is_committed_is_compared_with_what_the_commit_replaced(repo, tracker):
    """The file equals HEAD by then; the commit's parent shows what changed."""
    repo.commit(code_py=TOTAL)
    more = TOTAL.replace("item.price * item.count", "item.price * item.count * item.share - item.rebate")
    call = suggest(tracker, more)
    repo.commit(code_py=more.replace("item.rebate", "1"))
    assert outcomes(tracker, repo) == {call: "body_modified"}


def test_code_that_was_there_before_is_no_sign_of_use(repo, tracker):
    """Neither in a file that changed elsewhere, nor in one that moved."""
    repo.commit(code_py=TOTAL)
    call = suggest(tracker, TOTAL)
    repo.write("code.py", TOTAL + "\n\nprint(total([], 3))\n")
    assert outcomes(tracker, repo) == {}
    repo.git("mv", "-f", "code.py", "moved.py")
    assert outcomes(tracker, repo) == {}
    repo.commit()
    assert outcomes(tracker, repo) == {}
    assert tracker.pending_trace_ids() == [call]


def test_a_commit_from_before_the_answer_is_not_looked_at(repo, tracker):
    """Not even one of the same second."""
    repo.commit(code_py=TOTAL)
    suggest(tracker, TOTAL)
    assert outcomes(tracker, repo) == {}


def test_a_layout_of_its_own_is_still_verbatim(repo, tracker):
    """Indentation, quotes, semicolons and trailing commas are a formatter's business."""
    call = suggest(tracker, "const a = {x: 'one', y: call(2, 3)};\nuse(a, 'two');\n")
    repo.write(
        "a.js", 'if (b) {\n  const a = {\n    x: "one",\n    y: call(2, 3),\n  }\n  use(a, "two")\n}\n'
    )
    assert outcomes(tracker, repo) == {call: "applied"}


def test_the_best_block_of_an_answer_decides(repo, tracker):
    """An answer shows alternatives, and usage beside the code; each block is reported."""
    call = suggest(tracker, EDITED, "print(total(load(path), rate=0.19))", STACK)
    repo.write("one.py", STACK)
    repo.write("two.txt", EDITED.replace("return result", "return -result"))
    verdicts = check_repository(tracker, repo.root)
    assert sorted((each.position, each.outcome.value) for each in verdicts) == [
        (0, "modified"),
        (2, "applied"),
    ]
    assert [(each.trace_id, each.quality) for each in tracker.drain_ledger()] == [(call, 1.0)]


def test_nothing_is_ignored_before_its_deadline(repo):
    """The last moment counts, and what is found then is not ignored."""
    clock = ManualClock()
    tracker = OutcomeTracker(clock, git_deadline_seconds=60.0)
    late, never = suggest(tracker, TOTAL), suggest(tracker, STACK)
    clock.advance(59.0)
    assert outcomes(tracker, repo) == {}
    repo.write("one.py", TOTAL)
    clock.advance(2.0)
    assert outcomes(tracker, repo) == {late: "applied", never: "ignored"}
    assert [(each.trace_id, each.success, each.quality) for each in tracker.drain_ledger()] == [
        (late, True, 1.0),
        (never, False, 0.1),
    ]


def test_another_signal_wins_if_it_comes_first(repo, tracker):
    """A call is resolved once."""
    call = suggest(tracker, TOTAL)
    tracker.record_failure(call, "broken")
    repo.write("one.py", TOTAL)
    assert check_repository(tracker, repo.root) == []


def test_odd_files_are_passed_by(repo, tracker):
    """Binary and huge files, links, pipes, other repositories in this one, bytes that are no UTF-8."""
    call = suggest(tracker, TOTAL)
    repo.write("huge.py", "x" * (1 << 20) + TOTAL)
    (repo.root / "binary.py").write_bytes(b"\0" + TOTAL.encode())
    outside = repo.root.parent / "outside.py"
    outside.write_text(TOTAL)
    (repo.root / "link.py").symlink_to(outside)
    os.mkfifo(repo.root / "pipe.py")
    inner = GitFolder(repo.root / "inner")
    inner.write("one.py", TOTAL)
    assert outcomes(tracker, repo) == {}
    (repo.root / "latin.py").write_bytes(b"# caf\xe9\n" + TOTAL.encode())
    assert outcomes(tracker, repo) == {call: "applied"}


def test_what_is_read_is_bounded(repo, tracker, monkeypatch):
    """Beyond a number of files of a change, or of bytes in all, files are left out and counted."""
    call = suggest(tracker, TOTAL)
    for name in ("a.py", "b.py", "c.py"):
        repo.write(name, STACK)
    repo.write("d.py", TOTAL)
    monkeypatch.setattr(repository, "MAX_FILES", 3)
    assert outcomes(tracker, repo) == {}
    monkeypatch.setattr(repository, "MAX_FILES", 4)
    monkeypatch.setattr(repository, "MAX_BYTES", 3 * len(STACK))
    assert outcomes(tracker, repo) == {}
    monkeypatch.setattr(repository, "MAX_BYTES", 3 * len(STACK) + len(TOTAL))
    assert outcomes(tracker, repo) == {call: "applied"}


def test_a_clock_that_begins_at_zero_finds_all_commits(repo):
    """Virtual time may lie long before the repository's."""
    clock = ManualClock(start=50.0, wall_start=0.0)
    tracker = OutcomeTracker(clock)
    call = suggest(tracker, TOTAL)
    repo.commit(one_py=TOTAL)
    clock.jump_wall(-100.0)
    assert outcomes(tracker, repo) == {call: "applied"}


def test_packed_commits_of_the_answers_second_count(repo, tracker):
    """git keeps whole seconds only; without the object's own file the benefit of the doubt is given."""
    call = suggest(tracker, TOTAL)
    repo.commit(one_py=TOTAL)
    repo.git("gc", "-q")
    assert outcomes(tracker, repo) == {call: "applied"}


def test_files_in_conflict_and_files_meant_to_be_added_are_read(repo, tracker):
    """As they lie in the working tree."""
    conflict, meant = suggest(tracker, TOTAL), suggest(tracker, STACK)
    repo.git("switch", "-q", "-c", "side")
    repo.commit(base_py="side = 1\n")
    repo.git("switch", "-q", "main")
    repo.commit(base_py="main = 2\n")
    with pytest.raises(subprocess.CalledProcessError):
        repo.git("merge", "side")
    repo.write("base.py", "<<<<<<< HEAD\n" + TOTAL + "=======\nside = 1\n>>>>>>> side\n")
    repo.write("new.py", STACK)
    repo.git("add", "-N", "new.py")
    assert outcomes(tracker, repo) == {conflict: "applied", meant: "applied"}


def test_ignored_files_are_not_looked_at(repo, tracker):
    """What git ignores is built or downloaded, not written."""
    suggest(tracker, TOTAL)
    repo.write(".gitignore", "build\n")
    repo.write("build/one.py", TOTAL)
    assert outcomes(tracker, repo) == {}


def test_a_repository_without_commits(tmp_path, tracker):
    """Everything in it is new."""
    repo = GitFolder(tmp_path / "repo")
    staged, untracked = suggest(tracker, TOTAL), suggest(tracker, STACK)
    repo.write("one.py", TOTAL)
    repo.git("add", "one.py")
    repo.write("two é.py", STACK)
    assert outcomes(tracker, repo) == {staged: "applied", untracked: "applied"}


def test_commits_of_other_branches_count_and_a_subdirectory_will_do(repo, tracker):
    """Work is often committed on a branch; the whole repository is looked at."""
    call = suggest(tracker, TOTAL)
    repo.git("switch", "-q", "-c", "side")
    repo.commit(one_py=TOTAL)
    repo.git("switch", "-q", "main")
    (repo.root / "sub").mkdir()
    verdicts = check_repository(tracker, repo.root / "sub")
    assert [(each.trace_id, each.outcome.value) for each in verdicts] == [(call, "applied")]


def test_the_environment_of_a_hook_leads_nowhere_else(repo, tracker, tmp_path, monkeypatch):
    """`GIT_DIR` of another repository is not followed."""
    other = new_repository(tmp_path / "other")
    call = suggest(tracker, TOTAL)
    repo.write("one.py", TOTAL)
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git" / "index"))
    assert outcomes(tracker, repo) == {call: "applied"}


def test_looking_changes_nothing_in_the_repository(repo, tracker):
    """Not even the index is refreshed."""
    suggest(tracker, TOTAL)
    repo.write("one.py", EDITED)
    repo.git("add", "-A")
    os.utime(repo.root / "base.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in repo.root.rglob("*") if path.is_file()}
    check_repository(tracker, repo.root)
    assert {path: path.stat().st_mtime_ns for path in repo.root.rglob("*") if path.is_file()} == before


def test_what_is_no_repository_is_refused_with_its_name(tmp_path, tracker):
    """One sentence; nothing is ignored because of it."""
    call = suggest(tracker, TOTAL)
    (tmp_path / "plain").mkdir()
    with pytest.raises(RepositoryError, match=r"plain: .*not a git repository"):
        check_repository(tracker, tmp_path / "plain")
    with pytest.raises(RepositoryError, match="absent is no directory"):
        check_repository(tracker, tmp_path / "absent")
    assert tracker.pending_trace_ids() == [call]


def test_without_git_the_message_says_so(repo, tracker, monkeypatch):
    """It is the one program that is needed."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RepositoryError, match="git is not installed"):
        check_repository(tracker, repo.root)


def test_suggestions_that_are_no_fingerprints_wait_for_somebody_else(repo, tracker):
    """A caller may attach what it likes."""
    trace_id = tracker.record_start("m", "code")
    tracker.record_complete(trace_id, 1.0, 1, 1)
    tracker.attach_suggestions(trace_id, ["something"])
    assert check_repository(tracker, repo.root) == []
    assert tracker.pending_trace_ids() == [trace_id]


def test_fingerprints_of_two_keys_are_found_alike(repo, tracker):
    """Each brings the key that it was made with."""
    trace_id = tracker.record_start("m", "code")
    tracker.record_complete(trace_id, 1.0, 1, 1)
    tracker.attach_suggestions(trace_id, [fingerprint(TOTAL, key=b"k" * 16), fingerprint(STACK)])
    repo.write("one.py", TOTAL)
    repo.write("two.py", STACK)
    assert [each.outcome.value for each in check_repository(tracker, repo.root)] == ["applied", "applied"]
