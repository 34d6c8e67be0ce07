"""What `pyproject.toml` can't say: with NEXUS_COMPILE=1 the modules on the path of every request become C.

mypyc, which comes with mypy, compiles them as they are. What is built without it, on a machine without a
compiler for one, is the same program, only slower:
`docs/decisions/0012-compiled-modules.md` says by how much.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

# Only modules whose classes take no keywords: mypyc would drop them, and records (`frozen=True`) be none.
# Only whole families: a class that is compiled can't be the base of one that is not.
# Only modules without `await`: compiled code hands on what is raised there in a way Python 3.12 warns of.
COMPILED = (
    "app/call_recorder",
    "app/recorders",
    "core/learned",
    "core/live",
    "dialects/answer",
    "dialects/ollama",
    "dialects/openai",
    "dialects/rewrite",
    "outcomes/book",
    "outcomes/cooldown",
    "outcomes/keeper",
    "outcomes/pending",
    "outcomes/state",
    "outcomes/tally",
    "outcomes/tracker",
    "proxy/admission",
    "proxy/answer_head",
    "proxy/answer_text",
    "proxy/answering",
    "proxy/attempt",
    "proxy/connection",
    "proxy/context",
    "proxy/exchange",
    "proxy/fast_path",
    "proxy/forward",
    "proxy/headers",
    "proxy/inspect",
    "proxy/known_head",
    "proxy/origin",
    "proxy/recording",
    "proxy/target",
    "proxy/turn",
    "proxy/upstream",
    "quality/agent",
    "quality/guard",
    "quality/learner",
    "quality/sketch",
    "quality/store",
    "quality/windows",
    "resilience/breaker",
    "routing/affinity",
    "routing/availability",
    "routing/intent",
    "routing/pipeline",
    "routing/plan_book",
    "routing/reconcilers/analyzer",
    "routing/reconcilers/budget",
    "routing/reconcilers/privacy",
    "routing/reconcilers/quality",
    "routing/reconcilers/scheduler",
    "routing/reconcilers/tier",
    "routing/strategies/expected_time",
    "routing/strategies/priority_only",
    "routing/strategies/random_order",
    "routing/strategies/round_robin",
    "routing/strategies/smart",
    "server/body",
    "server/edge",
    "server/http",
    "server/inference",
    "server/reading",
    "server/trace",
    "telemetry/counters",
    "telemetry/histogram",
    "telemetry/request_log",
)


def _extensions() -> list[Extension]:
    if os.environ.get("NEXUS_COMPILE") != "1":
        return []
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 - only who compiles needs it
    except ModuleNotFoundError:
        raise SystemExit("NEXUS_COMPILE=1 needs mypy beside setuptools: `make wheel` sees to that") from None
    paths = [str(Path("src/nexus") / f"{name}.py") for name in COMPILED]
    return mypycify(paths, opt_level="3", debug_level="0")


setup(ext_modules=_extensions())
