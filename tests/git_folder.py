"""Real git repositories for tests, and calls whose answers suggested code."""

import os
import subprocess
from pathlib import Path

from nexus.outcomes import InferenceTask, OutcomeTracker, fingerprint


class GitFolder:
    """A repository in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
            env={**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        )
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, **files: str) -> None:
        """Write files (`a_py` is `a.py`) and commit everything."""
        for name, text in files.items():
            self.write(".".join(name.rsplit("_", 1)), text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")


BASE = "def existing(value):\n    return value * 2 + offset(value, 7)\n"


def new_repository(root: Path) -> GitFolder:
    """A repository with one commit."""
    folder = GitFolder(root)
    folder.commit(base_py=BASE)
    return folder


def suggest(tracker: OutcomeTracker, *blocks: str, model: str = "m") -> str:
    """A completed call whose answer held these code blocks."""
    trace_id = tracker.record_start(model, InferenceTask.CODE)
    tracker.record_complete(trace_id, 1.0, 1, 1)
    assert tracker.attach_suggestions(trace_id, [fingerprint(block) for block in blocks])
    return trace_id
