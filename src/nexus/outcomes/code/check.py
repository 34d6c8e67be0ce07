"""What became of suggested code in a git repository, suggestion by suggestion."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from nexus.outcomes.code.matching import Found, Matcher, Suggestion
from nexus.outcomes.code.repository import Change, ChangedFile, Repository
from nexus.outcomes.code.symbols import changed_symbols
from nexus.outcomes.code.winnow import Fingerprint, pack, unpack
from nexus.outcomes.outcome import GIT_SIGNAL, CodeOutcome
from nexus.outcomes.tracker import OutcomeTracker


class Verdict(NamedTuple):
    """What became of one code block of an answer: block `position` (from 0) of the call `trace_id`.

    `path` is the file where it was found, `place` the state that shows it: `working tree`, `index` or a
    commit. Both are None for an ignored one. `share` is how much of what was new in it is there.
    """

    trace_id: str
    position: int
    outcome: CodeOutcome
    path: str | None = None
    place: str | None = None
    share: float = 0.0


class Findings(NamedTuple):
    """What a look into a repository showed.

    `verdicts` holds one for each suggestion that was found. `renewed` are the fingerprints of calls of which
    nothing was found but that look like code which came from others, to be told so at the next look.
    `left_out` counts files that could not be compared.
    """

    verdicts: tuple[Verdict, ...]
    renewed: dict[str, tuple[Fingerprint, ...]]
    left_out: int


class PendingCode(NamedTuple):
    """A call whose answer suggested code, as fingerprints, `since` a time in Unix seconds."""

    trace_id: str
    since: float
    fingerprints: tuple[Fingerprint, ...]


def check_repository(tracker: OutcomeTracker, repo_dir: str | os.PathLike[str]) -> list[Verdict]:
    """Resolve the calls of `tracker` whose suggested code is in a git repository; may be called at any time.

    Looked at are the working tree, untracked files and the index, each compared with HEAD, and the commits of
    all branches since the suggestion was made. Code that is there as suggested is applied. Of code that is
    there in part the symbols that changed around it say how it was used. A call with several code blocks is
    resolved by the best of its verdicts. A call of which nothing is found waits, until its deadline makes it
    ignored. Returns the verdicts of the calls that were resolved now, so each is returned once.

    Raises:
        RepositoryError: `repo_dir` can't be read as a git repository, or git is missing.
    """
    clock = tracker.clock
    behind = clock.time() - clock.monotonic()
    pending = [
        PendingCode(call.trace_id, behind + (call.completed_at or 0.0), prints)
        for call in tracker.pending_suggestions()
        if (prints := tuple(each for each in call.suggestions if isinstance(each, Fingerprint)))
    ]
    findings = look_for(pending, repo_dir)
    verdicts = list(findings.verdicts)
    late = clock.time() - tracker.git_deadline_seconds
    missed = {each.trace_id for each in pending} - {each.trace_id for each in verdicts}
    for each in pending:
        if each.trace_id in missed and each.since <= late:
            verdicts += [
                Verdict(each.trace_id, position, CodeOutcome.IGNORED)
                for position in range(len(each.fingerprints))
            ]
    for trace_id, fingerprints in findings.renewed.items():
        tracker.renew_suggestions(trace_id, fingerprints)
    tracker.note_checked(missed)
    resolved = {
        trace_id
        for trace_id, outcome in best_outcomes(verdicts).items()
        if tracker.record_code_outcome(trace_id, outcome, signal=GIT_SIGNAL).applied
    }
    return [each for each in verdicts if each.trace_id in resolved]


def best_outcomes(verdicts: Iterable[Verdict]) -> dict[str, CodeOutcome]:
    """One outcome for each call: the best of what became of its code blocks."""
    best: dict[str, CodeOutcome] = {}
    for each in verdicts:
        if each.trace_id not in best or each.outcome.quality > best[each.trace_id].quality:
            best[each.trace_id] = each.outcome
    return best


def look_for(pending: Sequence[PendingCode], repo_dir: str | os.PathLike[str]) -> Findings:
    """Compare suggestions with a repository; nothing is changed anywhere.

    Raises:
        RepositoryError: as `check_repository`.
    """
    suggestions = [
        Suggestion(call.trace_id, position, call.since, fingerprint)
        for call in pending
        for position, fingerprint in enumerate(call.fingerprints)
        if fingerprint.hashes
    ]
    by_key: dict[bytes, list[Suggestion]] = {}
    for each in suggestions:
        by_key.setdefault(each.fingerprint.key, []).append(each)
    look = _Look()
    with Repository(repo_dir) as repository:
        if suggestions:
            matchers = [Matcher(key, group) for key, group in by_key.items()]
            for change in repository.changes(min(each.since for each in suggestions)):
                look.at(change, matchers)
        left_out = repository.left_out
    verdicts = tuple(look.verdicts.values())
    return Findings(verdicts, _renewed(pending, look, {each.trace_id for each in verdicts}), left_out)


class _Look:
    """Goes through changes and keeps the best verdict of each suggestion."""

    def __init__(self) -> None:
        self.verdicts: dict[tuple[str, int], Verdict] = {}
        self.elsewhere: dict[tuple[str, int], frozenset[int]] = {}

    def at(self, change: Change, matchers: Sequence[Matcher]) -> None:
        """Take one change into account."""
        for matcher in matchers:
            before = frozenset[int]()
            for file in change.files:
                old_text = file.old_text()
                if old_text is not None:
                    before |= matcher.present(old_text)
            for file in change.files:
                text = file.text()
                if text is not None:
                    self._file(change, file, text, matcher, before)

    def _file(
        self, change: Change, file: ChangedFile, text: str, matcher: Matcher, before: frozenset[int]
    ) -> None:
        compared = matcher.compare(text, before, made_at=change.made_at)
        for found in compared.found:
            key = (found.suggestion.trace_id, found.suggestion.position)
            outcome = _outcome(found, file, text)
            verdict = self.verdicts.get(key)
            if verdict is None or outcome.quality > verdict.outcome.quality:
                self.verdicts[key] = Verdict(*key, outcome, file.path, change.place, found.share)
        for suggestion, hashes in compared.elsewhere:
            key = (suggestion.trace_id, suggestion.position)
            self.elsewhere[key] = self.elsewhere.get(key, frozenset()) | hashes


def _outcome(found: Found, file: ChangedFile, text: str) -> CodeOutcome:
    if found.whole:
        return CodeOutcome.APPLIED
    return changed_symbols(file.path, file.old_text(), text, found.places) or CodeOutcome.MODIFIED


def _renewed(
    pending: Iterable[PendingCode], look: _Look, found: set[str]
) -> dict[str, tuple[Fingerprint, ...]]:
    renewed = {}
    for call in pending:
        if call.trace_id in found:
            continue
        prints = tuple(
            replace(each, elsewhere=pack(unpack(each.elsewhere) | look.elsewhere[call.trace_id, position]))
            if (call.trace_id, position) in look.elsewhere
            else each
            for position, each in enumerate(call.fingerprints)
        )
        if prints != call.fingerprints:
            renewed[call.trace_id] = prints
    return renewed
