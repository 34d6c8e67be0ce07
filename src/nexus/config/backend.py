"""`[[backends]]`: one upstream as the user describes it."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from nexus.config.errors import ConfigError, Problem
from nexus.config.section import Names, Section, setting
from nexus.core.backend import Backend, BackendType, Zone

_TYPES = Literal[
    "generic", "openai", "vllm", "ollama", "llamacpp", "lmstudio", "sglang", "anthropic", "google"
]
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


def slug(name: str) -> str:
    """The id made of a name: lower case, every run of other characters than letters and digits one dash."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def normalise_url(url: str) -> str:
    """The origin and path prefix, without trailing slashes and a trailing `/v1`."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class BackendSettings(Section):
    """`[[backends]]`: one inference server or cloud endpoint."""

    name: str = Field(min_length=1, description="What people call it.")
    url: str = Field(description="Where it listens, with or without a trailing `/v1`.")
    id: str = setting("", "Its id in headers, metrics and logs; without one, a slug of the name.", live=True)
    type: _TYPES = setting(
        "generic", "The kind of server; `generic` is any OpenAI-compatible one.", live=True
    )
    priority: int = setting(50, "Lower is preferred.", live=True, ge=0)
    zone: Literal["", "restricted", "open"] = setting(
        "",
        "Where its data goes: `restricted` stays with you, `open` leaves. Empty: `open` for cloud types, "
        "`restricted` for the others.",
        live=True,
    )
    tier: int = setting(1, "How capable it is; policies may ask for a lowest tier.", live=True, ge=1)
    api_key_env: str = setting("", "Name of the variable that holds its API key.", live=True)
    models: Names = setting((), "The models it serves; empty: it is asked.", live=True)
    max_concurrency: int = setting(0, "Most requests at once; 0: learned.", live=True, ge=0)
    headers: dict[str, str] = setting({}, "Headers added to every request to it.", live=True, secret=True)

    @model_validator(mode="before")
    @classmethod
    def _fill_id_and_zone(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = dict(data)
        if isinstance(filled.get("name"), str) and not filled.get("id"):
            filled["id"] = slug(filled["name"])
        kind = filled.get("type", "generic")
        if not filled.get("zone") and kind in get_args(_TYPES):
            filled["zone"] = Zone.OPEN.value if BackendType(kind).is_cloud else Zone.RESTRICTED.value
        return filled

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or any(character.isspace() for character in url):
            raise ValueError(
                "must be an http:// or https:// address with a host, such as http://127.0.0.1:8000"
            )
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("must not have a user, a query or a fragment; keys go into api_key_env")
        return url

    @field_validator("id")
    @classmethod
    def _id_is_plain(cls, value: str) -> str:
        if value and not _ID.fullmatch(value):
            raise ValueError("must start with a letter or digit, followed by letters, digits, `_.:-`")
        return value

    @field_validator("headers")
    @classmethod
    def _headers_are_legal(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} can't be a header name")
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the value of {name!r} has characters that a header can't carry")
        return headers

    @model_validator(mode="after")
    def _id_is_there(self) -> "BackendSettings":
        if not self.id:
            raise ValueError("needs an id, because its name has no letter and no digit to make one of")
        return self

    def to_backend(self, environ: Mapping[str, str]) -> Backend:
        """The record routing works with; the API key is read from `environ`.

        Raises:
            ConfigError: `api_key_env` names a variable that is unset or empty.
        """
        key = environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        if self.api_key_env and not key:
            raise ConfigError((Problem(f"backend {self.id}", f"the variable {self.api_key_env} is not set"),))
        return Backend(
            id=self.id,
            name=self.name,
            url=normalise_url(self.url),
            type=BackendType(self.type),
            zone=Zone(self.zone),
            tier=self.tier,
            priority=self.priority,
            api_key=key,
            headers=dict(self.headers),
            models=self.models,
            max_concurrency=self.max_concurrency,
        )
