"""One llama.cpp server with a small real model, in the foreground: `python -m nexus.testing.llama_server`.

`nexus.testing.LlamaServer` runs it as a child process.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from nexus.testing.weights import ModelUnavailableError, find_weights

CONTEXT_TOKENS = 2048
SLOTS = 2
_MEAN_POOLING = 1
_HTTP_THREADS = 8
_NOISE_TEMPERATURE = 100.0
"""Every token of the vocabulary is about as likely as any other."""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options: `port` (0: any free one), `alias`, `embeddings`, `noise`, `threads`, `die_with_stdin`."""
    parser = argparse.ArgumentParser(prog="python -m nexus.testing.llama_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any free one")
    parser.add_argument("--alias", default="smollm2", help="the model's name at the API")
    parser.add_argument("--embeddings", action="store_true", help="serve /v1/embeddings")
    parser.add_argument("--noise", action="store_true", help="draw every token at random")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    parser.add_argument(
        "--die-with-stdin",
        action="store_true",
        help="end when standard input is closed, as a parent's end does",
    )
    return parser.parse_args(argv)


def start(options: argparse.Namespace) -> Any:
    """A running server; blocks until the model is loaded and the port answers.

    The object must be kept: the server ends with it.

    Raises:
        ModelUnavailableError: the engine or the weights are not installed.
        RuntimeError: llama.cpp refused, for example because the port is taken.
    """
    weights = find_weights()
    import xllamacpp  # noqa: PLC0415 - optional dependency; find_weights has said how to install it

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {options.alias}
    params.port = options.port
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = SLOTS
    params.n_threads_http = _HTTP_THREADS
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.warmup = False
    params.verbosity = 0
    if options.noise:
        params.sampling.temp = _NOISE_TEMPERATURE
        params.sampling.top_k = 0
        params.sampling.top_p = 1.0
        params.sampling.min_p = 0.0
    if options.embeddings:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type(_MEAN_POOLING)
    return xllamacpp.Server(params)


def _leave(_signal: int = 0, _frame: FrameType | None = None) -> None:
    # llama.cpp's threads would take seconds to join; nothing here is worth a tidy end.
    os._exit(0)


def _leave_with_stdin() -> None:
    # Read past Python's buffer: a thread that holds its lock makes the interpreter's own exit fail.
    while os.read(0, 1024):
        pass
    _leave()


def _complain(message: str) -> int:
    print(f"llama_server: {message}", file=sys.stderr)  # noqa: T201 - a command's message to its caller
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal (or, on request, the end of standard input); the first line out is the address."""
    options = parse_arguments(argv)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    if options.die_with_stdin:
        threading.Thread(target=_leave_with_stdin, daemon=True).start()
    try:
        server = start(options)
    except ModelUnavailableError as error:
        return _complain(str(error))
    except RuntimeError as error:
        return _complain(f"llama.cpp did not start on port {options.port} (is it taken?): {error}")
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201 - read by the parent
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
