"""Reads what programmers did with answers, and turns it into follow-ups with an adoption label."""

import ast
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from nexus.outcomes.signals.kinds import FollowUp, classify
from nexus.outcomes.signals.messages import ChatMessage
from nexus.outcomes.signals.weights import QUICK_SECONDS, Evidence

COLUMNS = ("programmer_id", "timestamp", "task_name", "request", "response", "copy_events")
_MAX_FIELD = 1 << 24
FENCE = "```"
REPEATED = frozenset({FollowUp.ASKED_AGAIN, FollowUp.REGENERATED})


class Turn(Struct, frozen=True):
    """One question and its answer. `id` is stable: programmer and time of the turn, as in the file."""

    id: str
    programmer: str
    time: float
    task: str
    messages: tuple[ChatMessage, ...]
    answer: str
    adopted: bool

    @property
    def code(self) -> bool:
        """Whether the answer has a fenced code block."""
        return FENCE in self.answer


class Followed(Struct, frozen=True):
    """A turn whose conversation went on. `gap` is seconds to the next turn.

    `kind` is by the product's rules, `label` by hand (None: not labelled).
    """

    turn: Turn
    kind: FollowUp
    gap: float
    label: FollowUp | None = None

    @property
    def quick(self) -> bool:
        """Whether the follow-up came too soon for the answer's code to have been used."""
        least, most = QUICK_SECONDS
        return self.kind is not FollowUp.ERROR_REPORT and least <= self.gap < most and self.turn.code

    @property
    def known(self) -> FollowUp:
        """The kind by hand where there is a label, else by the rules."""
        return self.label or self.kind

    @property
    def evidence(self) -> Evidence:
        """The weighted signals, as the reader sees them."""
        repeated = self.kind in REPEATED
        return Evidence(repeated=repeated, quick=self.quick, failed=self.kind is FollowUp.ERROR_REPORT)


def read_turns(path: Path) -> list[Turn]:
    """All turns of the file in its order. Raises ValueError, naming the row, where one cannot be read."""
    csv.field_size_limit(_MAX_FIELD)
    turns: list[Turn] = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}")
        for number, row in enumerate(reader, 1):
            try:
                turns.append(_turn(row))
            except (ValueError, SyntaxError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: row {number} cannot be read: {error}") from error
    return turns


def _turn(row: dict[str, str]) -> Turn:
    messages = tuple(ChatMessage(part["role"], part["content"]) for part in ast.literal_eval(row["request"]))
    return Turn(
        id=f"{row['programmer_id']}@{row['timestamp']}",
        programmer=row["programmer_id"],
        time=float(row["timestamp"]),
        task=row["task_name"],
        messages=messages,
        answer=row["response"],
        adopted=bool(ast.literal_eval(row["copy_events"])),
    )


def follow_ups(turns: Sequence[Turn], labels: Mapping[str, FollowUp]) -> list[Followed]:
    """Every turn that a later one of its conversation follows."""
    by_conversation: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        by_conversation.setdefault((turn.programmer, turn.task), []).append(turn)
    found: list[Followed] = []
    for conversation in by_conversation.values():
        for position, turn in enumerate(conversation):
            for later in conversation[position + 1 :]:
                kind = _kind(turn, later)
                if kind is not None:
                    found.append(Followed(turn, kind, later.time - turn.time, labels.get(turn.id)))
                    break
    return found


def _kind(turn: Turn, later: Turn) -> FollowUp | None:
    size = len(turn.messages)
    if later.messages[:size] != turn.messages:
        return None
    if len(later.messages) == size:
        return FollowUp.REGENERATED
    answer, said = later.messages[size], later.messages[size + 1 :]
    if answer.role != "assistant" or answer.content != turn.answer:
        return None
    texts = [message.text() for message in said if message.role == "user"]
    asked = [message.text() for message in turn.messages if message.role == "user"]
    return classify(texts, asked) if texts else None


def read_labels(path: Path) -> dict[str, FollowUp]:
    """The hand labels: turn id -> kind."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["turn"]: FollowUp(row["kind"]) for row in csv.DictReader(file)}
