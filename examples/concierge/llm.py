"""Asks a model, through Nexus, behind a breaker and within a time limit."""

from time import perf_counter

from openai import AsyncOpenAI

from concierge.retrieval import Passage
from concierge.settings import Settings
from concierge.tools import ToolResult
from nexus.resilience import CircuitBreaker, StructuredLogger, with_timeout

_SYSTEM = (
    "You are the concierge of the Seaview Hotel. Answer the guest in one or two short, friendly sentences."
)
_MAX_TOKENS = 96


class Llm:
    """The model behind the gateway. The gateway retries, so the client does not."""

    def __init__(self, settings: Settings, breaker: CircuitBreaker, log: StructuredLogger) -> None:
        self.breaker = breaker
        self._model = settings.model
        self._log = log
        self._client = AsyncOpenAI(
            base_url=f"{settings.gateway_url}/v1", api_key=settings.gateway_key, max_retries=0
        )
        self._guarded = breaker(with_timeout(settings.llm_seconds)(self._ask))

    async def ask(self, question: str, passages: list[Passage], facts: list[ToolResult]) -> str:
        """The model's answer.

        Raises:
            CircuitOpenError: the breaker is open; nothing was sent.
            TimeoutExceededError: it took too long.
            openai.OpenAIError: the gateway refused or could not be reached.
        """
        return await self._guarded(question, passages, facts)

    async def close(self) -> None:
        """Close the connections to the gateway."""
        await self._client.close()

    async def _ask(self, question: str, passages: list[Passage], facts: list[ToolResult]) -> str:
        known = "\n\n".join([*(passage.text for passage in passages), *(fact.text for fact in facts)])
        prompt = f"{known}\n\nGuest: {question}" if known else question
        began = perf_counter()
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "system", "content": _SYSTEM}, {"role": "user", "content": prompt}],
            max_tokens=_MAX_TOKENS,
        )
        usage = answer.usage
        self._log.llm_call(
            answer.model,
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
            (perf_counter() - began) * 1000,
        )
        return (answer.choices[0].message.content or "").strip()
