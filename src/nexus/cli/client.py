"""Asking a running gateway over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

import click

_TIMEOUT_SECONDS = 30.0
_OK = 200


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A gateway never redirects; following one could carry the key elsewhere."""

    def redirect_request(  # noqa: PLR0917 - the signature is the standard library's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl


class Reply:
    """A JSON answer: `status`, the `text` as it came, and the parsed `data`."""

    def __init__(self, status: int, text: str, data: Any) -> None:
        self.status = status
        self.text = text
        self.data = data


class Gateway:
    """A running gateway.

    `url` is its address with or without a trailing `/v1`; an empty `api_key` sends none.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            raise click.BadParameter(f"{url!r} is no http:// or https:// address", param_hint="--url")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        # the gateway is ours and near: no proxy stands between
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def get(self, path: str, also: Collection[int] = ()) -> Reply:
        """GET a path. Statuses in `also` are answers too, not failures.

        Raises:
            click.ClickException: No gateway answers there, or it answers with an error; one line says which.
        """
        return self._send(urllib.request.Request(self._url + path, headers=self._headers), also)  # noqa: S310 - the scheme was checked

    def post(self, path: str, body: Any) -> Reply:
        """POST a JSON body; raises as `get` does."""
        headers = {**self._headers, "Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=headers)  # noqa: S310 - the scheme was checked
        return self._send(request, ())

    def _send(self, request: urllib.request.Request, also: Collection[int]) -> Reply:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return self._reply(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            if error.code in also:
                return self._reply(error.code, body)
            raise click.ClickException(self._refusal(error.code, body)) from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise click.ClickException(f"no gateway answers at {self._url}: {_reason(reason)}") from error

    def _reply(self, status: int, body: bytes) -> Reply:
        text = body.decode(errors="replace")
        data = _parse(text)
        if not isinstance(data, dict):
            raise click.ClickException(
                f"what answers at {self._url} is no Nexus gateway: its answer is not JSON"
            )
        return Reply(status, text, data)

    def _refusal(self, status: int, body: bytes) -> str:
        data = _parse(body.decode(errors="replace"))
        error = data.get("error") if isinstance(data, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return f"{message} (HTTP {status})" if message else f"{self._url} answered with HTTP status {status}"


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--url`, `--api-key` and `--json` (passed on as `as_json`)."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the gateway's JSON."),
        click.option(
            "--api-key",
            envvar="NEXUS_API_KEY",
            default="",
            help="A key the gateway accepts [env: NEXUS_API_KEY].",
        ),
        click.option(
            "--url",
            envvar="NEXUS_URL",
            default="http://127.0.0.1:8080",
            show_default=True,
            help="The gateway's address [env: NEXUS_URL].",
        ),
    ):
        command = option(command)
    return command


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _reason(reason: object) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__
