"""`auto` with two real models, one of which talks noise: what people do next is enough to tell them apart.

The noisy twin is the same model on the same engine, drawing its tokens at random. A simulated person reads
each answer: after one that makes sense the conversation goes on or ends, after noise comes another try.
Prompts and answers of a few words keep it cheap: some 40 seconds of one core, most of them for the prompts.
"""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nexus.outcomes import LedgerEntry, open_ledger
from nexus.testing import GatewayProcess, LlamaServer
from tests.e2e.gateway_client import Reply, backend, post

# A busy machine may take several times as long; nothing here depends on how fast it is.
pytestmark = [pytest.mark.real_model, pytest.mark.timeout(600)]

WISE, NOISY = "wise", "noisy"
SETTINGS = """
[health_check]
interval_seconds = 600
[ledger]
flush_interval_seconds = 0.05
"""
TOKENS = 4
FORMS = ("What is {}?", "Why do we need {}?", "Tell me about {}.", "Where do we find {}?", "How old is {}?")
WORD = re.compile(r"[a-z]+")
THINGS = WORD.findall(
    "water bread snow music milk gold paper sleep rain glass iron sugar coffee money school "
    "wood fire sand salt rice corn meat fruit light heat stone cloth silk wool cheese "
    "tea oil grass soil wind ice steel cotton honey soap chalk"
)
QUESTIONS = [form.format(thing) for form in FORMS for thing in THINGS]
COMMON = WORD.findall(
    "the a an is are was it of in to and that for with as we you there this they have has not do can i be "
    "known from at or by one most also on been its our your which world many used"
)
GOES_ON = ("Thanks.", "And {}?", None, None)
NOT_SATISFIED = ("the same again", "put otherwise", "complained, then asked again")


def makes_sense(question: str, answer: str) -> bool:
    """Whether an answer has a word that a person would expect after this question."""
    expected = {*COMMON, *WORD.findall(question.lower())}
    return not expected.isdisjoint(WORD.findall(answer.lower()))


class Person:
    """Has conversations with `auto`; notes in `firsts` which model gave each one's first answer."""

    def __init__(self, port: int, seed: int) -> None:
        self.firsts: list[str] = []
        self.noise: Counter[str] = Counter()
        self._port = port
        self._rng = random.Random(seed)

    def talk(self, question: str) -> None:
        """Ask until an answer makes sense, four times at most; then go on, or leave."""
        messages = [{"role": "user", "content": question}]
        models = []
        for _ in range(4):
            reply = ask(self._port, messages, TOKENS)
            models.append(reply.headers["x-nexus-model"])
            answer = reply.json["choices"][0]["message"]["content"]
            answered = {"role": "assistant", "content": answer}
            if makes_sense(question, answer):
                said = self._rng.choice(GOES_ON)
                if said is not None:
                    content = said.format(self._rng.choice(THINGS))
                    ask(self._port, [*messages, answered, {"role": "user", "content": content}], 1)
                break
            self.noise[models[-1]] += 1
            messages = self._again(messages, answered, question)
        self.firsts.append(models[0])

    def _again(
        self, messages: list[dict[str, str]], answered: dict[str, str], question: str
    ) -> list[dict[str, str]]:
        how = self._rng.choice(NOT_SATISFIED)
        if how == NOT_SATISFIED[0]:
            return messages
        said = f"Please tell me: {question}" if how == NOT_SATISFIED[1] else f"What? Once more: {question}"
        return [*messages, answered, {"role": "user", "content": said}]


def ask(port: int, messages: list[dict[str, str]], tokens: int) -> Reply:
    reply = post(port, {"model": "auto", "messages": messages, "max_tokens": tokens})
    assert reply.status == 200, reply.body
    return reply


@pytest.fixture(scope="module")
def models(real_model: type[LlamaServer]) -> Iterator[tuple[LlamaServer, ...]]:
    """Two servers with the good model, because it will have the most to do, and its noisy twin."""
    with (
        real_model(alias=WISE) as one,
        real_model(alias=WISE) as two,
        real_model(alias=NOISY, noise=True) as twin,
    ):
        yield one, two, twin


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def running(models: tuple[LlamaServer, ...], data: Path) -> Iterator[GatewayProcess]:
    names = ("one", "two", "twin")
    toml = "".join(
        backend(name, server.url, type="llamacpp") for name, server in zip(names, models, strict=True)
    )
    with GatewayProcess(SETTINGS + toml, env={"NEXUS_DATA_DIR": str(data)}) as gateway:
        gateway.wait_for(lambda stats: all(each["status"] == "healthy" for each in stats["backends"]))
        yield gateway


def receipts(data: Path) -> list[LedgerEntry]:
    store = open_ledger(f"sqlite:///{data}/nexus.db")
    try:
        return store.read()
    finally:
        store.close()


def explained(running: GatewayProcess) -> tuple[dict[str, Any], str]:
    """What `nexus explain` says: its JSON, and its text."""
    command = [sys.executable, "-m", "nexus.cli.main", "explain", "--model", "auto", "--url", running.url]
    told = [
        subprocess.run([*command, *more], capture_output=True, text=True, check=True, timeout=60).stdout
        for more in (["--json"], [])
    ]
    return json.loads(told[0]), told[1]


def assert_explained(running: GatewayProcess) -> None:
    """The good model is in front, and numbers say why."""
    decision, text = explained(running)
    first, second = decision["models"]
    assert (first["model"], second["model"]) == (WISE, NOISY)
    assert first["utility"] > second["utility"]
    assert first["terms"]["quality"] > second["terms"]["quality"]
    assert first["terms"]["best"] > second["terms"]["best"]
    assert first["terms"]["propensity"] == pytest.approx(0.975)
    for model in (first, second):
        assert model["model"] in text
        assert f"{model['terms']['quality']:.3f}" in text
        assert f"{model['terms']['best']:.1%}" in text


def test_two_hundred_conversations_without_a_word_of_feedback_lead_auto_to_the_good_model(running, data):
    """Only the next messages are there to learn from; two people talk at a time."""
    people = [Person(running.port, seed) for seed in (1, 2)]

    def spend_the_day(number: int) -> None:
        for question in QUESTIONS[number:200:2]:
            people[number].talk(question)

    with ThreadPoolExecutor(len(people)) as pool:
        list(pool.map(spend_the_day, range(len(people))))
    assert sum(len(person.firsts) for person in people) == 200
    later = Counter(model for person in people for model in person.firsts[-30:])
    noise = sum((person.noise for person in people), Counter[str]())
    assert later[WISE] >= 45, (later, noise)
    assert_explained(running)
    running.wait_for(lambda _: any(entry.signal for entry in receipts(data)))
    signals = Counter((entry.model_id, entry.signal) for entry in receipts(data))
    told = {signal for _, signal in signals}
    assert told <= {"asked_again", "regenerated"}, signals
    assert signals[NOISY, "asked_again"] + signals[NOISY, "regenerated"] >= 1


def test_fifty_conversations_with_feedback_lead_auto_to_the_good_model(running):
    """Each answer is judged outright; nothing else is said."""
    firsts = []
    for question in QUESTIONS[:50]:
        reply = ask(running.port, [{"role": "user", "content": question}], TOKENS)
        firsts.append(reply.headers["x-nexus-model"])
        good = makes_sense(question, reply.json["choices"][0]["message"]["content"])
        told = {"trace_id": reply.headers["x-nexus-trace-id"], "outcome": "accepted" if good else "rejected"}
        answer = post(running.port, {**told, "confidence": 0.9}, path="/v1/outcomes")
        assert answer.json["results"][0]["applied"]
    assert firsts[-20:].count(WISE) >= 15, firsts
    assert_explained(running)
