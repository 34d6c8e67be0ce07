"""Prices from the packaged list. The list grows with its package, so exact figures are not asserted."""

import subprocess
import sys

import pytest

from nexus.backends.prices import PriceList
from nexus.core.backend import Backend, BackendType
from nexus.testing import ManualClock

OPENAI = Backend("o", "O", "https://api.openai.com", BackendType.OPENAI)


@pytest.fixture(scope="module")
def prices() -> PriceList:
    """The list, loaded once."""
    return PriceList(ManualClock())


def test_a_known_model_has_a_price_per_million_tokens(prices: PriceList) -> None:
    """gpt-4o came out at 2.5 and 10 USD and has stayed there."""
    price = prices(OPENAI, "gpt-4o")
    assert price is not None
    assert (price.input_per_mtok, price.output_per_mtok) == (2.5, 10.0)
    assert price.cost(1000, 1000) == pytest.approx(0.0125)


def test_of_stepped_prices_it_is_the_first_step(prices: PriceList) -> None:
    """Long prompts cost more at some providers; the estimate starts at the bottom."""
    google = Backend("g", "G", "https://generativelanguage.googleapis.com", BackendType.GOOGLE)
    price = prices(google, "gemini-2.5-pro")
    assert price is not None
    assert (price.input_per_mtok, price.output_per_mtok) == (1.25, 10.0)


def test_an_embedding_model_costs_only_its_input(prices: PriceList) -> None:
    """It has no output tokens to pay for."""
    price = prices(OPENAI, "text-embedding-3-small")
    assert price is not None
    assert price.input_per_mtok > 0
    assert price.output_per_mtok == 0


@pytest.mark.parametrize("model", ["no-such-model", "whisper-1"])
def test_an_unknown_price_is_none_and_not_zero(prices: PriceList, model: str) -> None:
    """Neither an unknown model nor one that is paid by the second has a price per token."""
    assert prices(OPENAI, model) is None


def test_the_address_tells_the_provider_before_the_type(prices: PriceList) -> None:
    """OpenAI's models are not sold at Groq; at an unknown address the type decides."""
    at_groq = Backend("q", "Q", "https://api.groq.com/openai", BackendType.OPENAI)
    at_proxy = Backend("p", "P", "https://llm.example", BackendType.OPENAI)
    anthropic = Backend("a", "A", "https://llm.example", BackendType.ANTHROPIC)
    assert prices(at_groq, "gpt-4o") is None
    assert prices(at_proxy, "gpt-4o") == prices(OPENAI, "gpt-4o")
    assert prices(anthropic, "claude-sonnet-4-5") is not None


def test_local_backends_have_no_price_and_never_load_the_list() -> None:
    """Neither importing the module nor asking about a local backend imports the price list."""
    code = (
        "import sys\n"
        "from nexus.backends.prices import PriceList\n"
        "from nexus.core.backend import Backend, BackendType\n"
        "from nexus.core.clock import SystemClock\n"
        "prices = PriceList(SystemClock())\n"
        "kinds = [kind for kind in BackendType if not kind.is_cloud]\n"
        "assert all(prices(Backend('b', 'B', 'http://b', kind), 'gpt-4o') is None for kind in kinds)\n"
        "assert 'genai_prices' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
