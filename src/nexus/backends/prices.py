"""What models of cloud providers cost, from the price list that the genai-prices package carries."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from nexus.core.backend import Backend, BackendType
from nexus.core.clock import Clock
from nexus.core.fleet import Price

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

_PROVIDERS = {
    BackendType.OPENAI: "openai",
    BackendType.ANTHROPIC: "anthropic",
    BackendType.GOOGLE: "google",
}


class PriceList:
    """Prices by backend and model, from the list as it was packaged: nothing is downloaded.

    Loading takes some tenths of a second, since the list is large. It happens at the first question about a
    cloud backend, so a fleet without one never pays for it; `load` in a thread beforehand keeps that off the
    event loop.

    Args:
        clock: some prices changed on a date.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._list: DataSnapshot | None = None

    def load(self) -> "DataSnapshot":
        """Read the list into memory. Blocks; may run in any thread, and again without harm."""
        # A slow import that most fleets never need.
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

        self._list = get_snapshot()
        return self._list

    def __call__(self, backend: Backend, model: str) -> Price | None:
        """The price of a model on this backend; None where it is unknown, and for local and generic types.

        A provider that the list knows by the backend's address counts before the one that the type suggests,
        since many others offer OpenAI's API. Of prices that rise with the length of the prompt, it is the
        lowest step. The discount for cached input is not taken into account.
        """
        provider_id = _PROVIDERS.get(backend.type)
        if provider_id is None:
            return None
        listed = self._list or self.load()
        try:
            provider = listed.find_provider(None, None, backend.url)
        except LookupError:
            provider = listed.find_provider(None, provider_id, None)
        try:
            _, info = listed.find_provider_model(model, provider, None, None)
        except LookupError:
            return None
        prices = info.get_prices(datetime.fromtimestamp(self._clock.time(), UTC))
        return _price(prices.input_mtok, prices.output_mtok)


def _price(input_mtok: object, output_mtok: object) -> Price | None:
    per_input = _base(input_mtok)
    if per_input is None:
        # Models paid by the second, image or request: tokens say nothing about their cost.
        return None
    return Price(per_input, _base(output_mtok) or 0.0)


def _base(price: object) -> float | None:
    base = getattr(price, "base", price)
    return float(base) if isinstance(base, Decimal) else None
