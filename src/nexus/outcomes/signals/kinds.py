"""What kind of follow-up a user's message is. Plain rules, tried in order; the first that fits decides.

The rules were written beside hand-labelled follow-ups; docs/signals.md has the labelling guide and how often
the rules agree with it. Only the kinds that `weights` gives a weight ever become a signal.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from nexus.outcomes.signals.words import COMPARE_CHARS, Terms, held

SIMILAR = 0.4
"""Questions at least this alike, the words of one held by the other, are the same question put again."""
_EARLIER_QUESTIONS = 3
_LOOK_CHARS = 4000
_SHORT_CHARS = 200
_SHORT_QUESTION = 12
_REMARK_CHARS = 120

_ERROR = re.compile(
    r"traceback \(most recent|\b\w*(?:error|exception)\b\s*:|errors?:"
    r"|\b(?:not defined|no attribute|segmentation fault|syntax error|command failed|panicked at)\b"
    r"|\bgetting (?:an? |this |the )?(?:\w+ )?error|following error|fix (?:this|these) errors?\b"
    r"|^[ \t]*at \S{1,200} ?\(.{0,200}:\d+\)",
    re.IGNORECASE | re.MULTILINE,
)
_THANKS = re.compile(
    r"(?:(?:ok|okay|cool|great|perfect|awesome|nice|wow|amazing|excellent|yes|yep)\b[\s,.!]*)*"
    r"(?:thanks?\b|thx\b|ty\b|cheers\b|got it\b|(?:that|it|this) (?:works|worked|helps|helped)\b"
    r"|(?:perfect|great|awesome|excellent|nice|cool)[\s!.]*$)",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"^(?:no|nope|wrong|incorrect|hmm+)\b"
    r"|\b(?:wrong|incorrect|not (?:correct|right|working|what i|good|achieved|quite|counting)"
    r"|does ?n[o']?t (?:work|help)|does not (?:work|help)|not work|wo(?:n't|uldn't) work"
    r"|did ?n[o']?t (?:work|help|fix)"
    r"|still (?:not|wrong|fails?|failing|keeps?|gets?|getting|the same|evaluates|returns|gives|does)"
    r"|(?:evaluates|returns) (?:to )?(?:null|none|nothing)"
    r"|should (?:evaluate|be|return|output|give|print|change|have|result|say|equal)|supposed to"
    r"|are you sure|check your|mistake|try again|your (?:code|answer|function|solution) (?:is|does|returns)"
    r"|you (?:forgot|missed|ignored|suck|misunderstood)|needs? to return|doesn't work)\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"^(?:(?:can|could|would|will) (?:you|u) (?:please )?"
    r"|please |pls |now |but |and |also |i mean |instead,? )*"
    r"(?:make|modify|change|rewrite|redo|convert|rename|name|use|add|remove|move|include|exclude|keep|shorten"
    r"|simplify|write (?:it|this)|do (?:it|this|that)|don'?t|do not|instead|without|with|in"
    r"|give (?:me|these|it)|have it|let it|put|provide|using|i (?:don't )?want|only|get only)\b"
    r"|\b(?:instead|without using|not use|rewrite|alternative|faster|more efficient|better (?:way|algorithm)"
    r"|any better|in (?:one|1) line|in python|what if|but (?:with|in|for|without))\b",
    re.IGNORECASE,
)
_BUILDING = re.compile(
    r"^(?:what (?:is|does|about|are)|why|(?:does|is|will) (?:it|this|that)|now\b|then\b|explain|how does"
    r"|next\b|and\b|using (?:this|that|the))"
    r"|\b(?:this|that|these|those|above|your) (?:function|code|method|class|approach|solution|line|example)\b"
    r"|```|^[ \t]*(?:def|class) |debug this|^[ \t]*import ",
    re.IGNORECASE | re.MULTILINE,
)
_PASTED = re.compile(
    r"^[ \t]*(?:def|class|import|from|for|while|if|return|function|const|let|var|fn|#include)\b.*[(=:;]",
    re.MULTILINE,
)


class FollowUp(StrEnum):
    """What the next message of a conversation does with the answer before it."""

    MOVED_ON = "moved_on"
    BUILT_ON = "built_on"
    CHANGE_REQUESTED = "change_requested"
    CORRECTED = "corrected"
    ASKED_AGAIN = "asked_again"
    REGENERATED = "regenerated"
    ERROR_REPORT = "error_report"
    THANKS = "thanks"


def classify(said: Sequence[str], asked: Sequence[str]) -> FollowUp:
    """The kind of follow-up.

    `said` holds the user messages after the answer (at least one), `asked` those before it, oldest first.
    REGENERATED is never answered: it has no message, only a request that comes again.
    """
    last = said[-1].strip()
    everything = "\n".join(said)[:_LOOK_CHARS]
    if _ERROR.search(everything):
        return FollowUp.ERROR_REPORT
    if len(last) < _SHORT_CHARS and _THANKS.match(last):
        return FollowUp.THANKS
    if _word_for_word(last, asked):
        return FollowUp.ASKED_AGAIN
    if _CORRECTION.search(everything[:COMPARE_CHARS]):
        return FollowUp.CORRECTED
    if _asked_before(last, asked):
        return FollowUp.ASKED_AGAIN
    if _CHANGE.search(last[: _SHORT_CHARS + 100]):
        return FollowUp.CHANGE_REQUESTED
    return FollowUp.BUILT_ON if _BUILDING.search(everything) else FollowUp.MOVED_ON


def _word_for_word(message: str, asked: Sequence[str]) -> bool:
    """Whether a message holds the last question as it was put, with a remark before or after it at most."""
    question = asked[-1].strip().lower() if asked else ""
    if not _SHORT_QUESTION <= len(question) < len(message) <= len(question) + _REMARK_CHARS:
        return False
    return question in message.lower()


def _asked_before(message: str, asked: Sequence[str]) -> bool:
    if not any(letter.isalpha() for letter in message[:COMPARE_CHARS]):
        return False
    if "\n" in message and _PASTED.search(message[:_LOOK_CHARS]):
        # Two versions of somebody's program are similar, but not the same question.
        return any(message == earlier.strip() for earlier in asked[-_EARLIER_QUESTIONS:])
    ours = Terms(message)
    for earlier in asked[-_EARLIER_QUESTIONS:]:
        theirs = Terms(earlier)
        if held(ours.stems, theirs.stems) and ours.likeness(theirs) >= SIMILAR:
            return True
    return message in asked[-_EARLIER_QUESTIONS:]
