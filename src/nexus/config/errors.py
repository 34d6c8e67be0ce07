"""What is wrong with a configuration, and where."""

from typing import NamedTuple

from nexus.core.errors import NexusError


class Problem(NamedTuple):
    """One mistake.

    `place` is a file and line (`nexus.toml:12`), a variable or a flag; `message` says what is wrong and what
    is allowed; `hint` suggests the right spelling, or is empty.
    """

    place: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(NexusError):
    """The configuration can't be used. `problems` holds every mistake found, in the order of their places."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
