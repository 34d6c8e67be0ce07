"""The post-commit hook that reports what became of suggested code."""

import shlex
import sys
from pathlib import Path

import click

from nexus.outcomes.code.repository import Repository

_BEGIN = "# nexus: begin"
_END = "# nexus: end"
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


def install_hook(directory: str, url: str | None) -> str:
    """Add our lines to the repository's post-commit hook; returns what to say.

    `url` None leaves the gateway's address to the environment of each commit. A hook that is there already is
    kept; lines of ours in it are replaced.

    Raises:
        click.ClickException: the hook is no shell script, or can't be written.
        RepositoryError: there is no repository.
    """
    path = _hook_path(directory)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else "#!/bin/sh\n"
        if not _is_shell(before):
            command = " ".join(map(shlex.quote, _command(url)))
            raise click.ClickException(f"{path} is no shell script; add this to it yourself: {command}")
        rest = _without_ours(before)
        path.parent.mkdir(parents=True, exist_ok=True)
        first, _, others = rest.partition("\n")
        # Ours comes first: what follows may `exec` or `exit`.
        path.write_text(f"{first}\n{_lines(url)}{others}", encoding="utf-8")
        path.chmod(path.stat().st_mode | 0o111)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"can't write {path}: {error}") from error
    return f"Every commit reports to the gateway now: {path}"


def remove_hook(directory: str) -> str:
    """Take our lines out of the post-commit hook, and the hook away where nothing else is in it.

    Raises:
        click.ClickException: the hook can't be written.
        RepositoryError: there is no repository.
    """
    path = _hook_path(directory)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if _BEGIN not in before:
            return f"There is nothing of Nexus in {path}"
        rest = _without_ours(before)
        if rest.strip() == "#!/bin/sh":
            path.unlink()
        else:
            path.write_text(rest, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"can't write {path}: {error}") from error
    return f"Commits report nothing any more: {path}"


def _hook_path(directory: str) -> Path:
    with Repository(directory) as repository:
        return repository.git_path("hooks") / "post-commit"


def _command(url: str | None) -> list[str]:
    script = Path(sys.executable).with_name("nexus")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "nexus.cli.main"]
    return [*program, "outcomes", "git", *(["--url", url] if url else [])]


def _lines(url: str | None) -> str:
    command = " ".join(map(shlex.quote, _command(url)))
    # In the background and silent: no commit waits for it or fails with it.
    return (
        f"{_BEGIN}\n"
        "# Tells the gateway which of its suggested code was committed. No commit waits for it.\n"
        f"({command} </dev/null >/dev/null 2>&1 &)\n"
        f"{_END}\n"
    )


def _without_ours(text: str) -> str:
    kept, ours = [], False
    for line in text.splitlines(keepends=True):
        if line.strip() == _BEGIN:
            ours = True
        if not ours:
            kept.append(line)
        if line.strip() == _END:
            ours = False
    return "".join(kept)


def _is_shell(text: str) -> bool:
    first = text.partition("\n")[0]
    if not first.startswith("#!"):
        return False
    words = first[2:].split()
    program = Path(words[-1] if words and words[0].endswith("/env") else words[0]).name if words else ""
    return program in _SHELLS
