"""`[routing]`: strategy, names and policies, and the monthly budget."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nexus.config.section import AsTuple, Names, Section, setting


class RoutingWeights(Section):
    """`[routing.weights]`: how the `smart` score is divided. Only the proportions matter."""

    priority: float = setting(50.0, "Share of the backend's configured priority.", live=True, ge=0)
    load: float = setting(30.0, "Share of the requests pending on the backend.", live=True, ge=0)
    latency: float = setting(20.0, "Share of the backend's recent latency.", live=True, ge=0)

    @model_validator(mode="after")
    def _not_all_zero(self) -> "RoutingWeights":
        if self.priority + self.load + self.latency == 0:
            raise ValueError("at least one weight must be over 0")
        return self


class RoutingPolicy(Section):
    """`[[routing.policies]]`: what holds for the models whose name matches."""

    model_pattern: str = Field(
        min_length=1,
        description="Glob over the whole model name, case-sensitive: `*` and `?` match any characters.",
    )
    privacy: Literal["restricted", "unrestricted"] = setting(
        "unrestricted", "`restricted` keeps the request away from backends in the open zone.", live=True
    )
    min_tier: int | None = setting(
        None, "Lowest tier that may answer; without it any tier may.", live=True, example="2", ge=1
    )


class BudgetConfig(Section):
    """`[routing.budget]`: what cloud backends may cost in one calendar month (UTC)."""

    monthly_limit_usd: float | None = setting(
        None, "The hard limit in USD; without it there is no limit.", live=True, example="50.0", ge=0
    )
    soft_limit_percent: float = setting(
        75.0,
        "From this share of the limit on, cloud backends are only half as attractive.",
        live=True,
        ge=0,
        le=100,
    )
    hard_limit_action: Literal["warn", "block_cloud", "block_all"] = setting(
        "warn", "What happens at the limit: log it, refuse cloud backends, or refuse everything.", live=True
    )


class RoutingConfig(Section):
    """`[routing]`: how a backend is chosen."""

    strategy: Literal["expected_time", "smart", "round_robin", "priority_only", "random"] = setting(
        "expected_time", "How the backends that can answer are ranked.", live=True
    )
    weights: RoutingWeights = Field(default=RoutingWeights(), description="How the `smart` score is divided.")
    aliases: dict[str, str] = setting(
        {},
        "Other names for models: alias = model. An alias may name another alias, up to 3 hops.",
        live=True,
        example='{ "gpt-4o" = "llama3:8b" }',
    )
    fallbacks: dict[str, Names] = setting(
        {},
        "Models to try in order when no backend can answer for the model itself.",
        live=True,
        example='{ "llama3:70b" = ["llama3:8b"] }',
    )
    prefix_affinity: bool = setting(
        True,
        "Whether `expected_time` prefers the backend that has the beginning of the prompt cached.",
        live=True,
    )
    auto_models: Names = setting(
        ("*",),
        "Globs over the names of the models that `auto` may choose among.",
        live=True,
        example='["llama3*", "qwen-coder"]',
    )
    policies: Annotated[tuple[RoutingPolicy, ...], AsTuple] = setting(
        (),
        "Rules by model name; the first whose pattern matches holds.",
        live=True,
        example='[{ model_pattern = "private-*", privacy = "restricted" }]',
    )
    budget: BudgetConfig = Field(
        default=BudgetConfig(), description="What cloud backends may cost per month."
    )
