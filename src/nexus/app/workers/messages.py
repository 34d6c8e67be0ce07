"""What the supervisor and its workers say to each other, and how it is framed.

Each message is a MessagePack array behind a four-byte length. What workers tell each other travels as bytes
that the supervisor does not look into.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

_LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class Welcome(Struct, frozen=True, array_like=True, tag=0):
    """The first message to a worker.

    `index` numbers the workers from 1 and is never used again. `file` (empty: none was named), `flags` and
    `cwd` say where the configuration is read from. `key` is what all workers hash conversations with, `port`
    where to listen.
    """

    index: int
    file: str
    flags: dict[str, str]
    cwd: str
    key: bytes
    port: int


class Found(Struct, frozen=True, array_like=True, tag=1):
    """To a worker: nobody is there before you; start from the files."""


class Wanted(Struct, frozen=True, array_like=True, tag=2):
    """To a worker: say all you know, for the worker `target` that begins."""

    target: int


class Picture(Struct, frozen=True, array_like=True, tag=3):
    """All that a worker knows, for the worker `target`."""

    target: int
    body: bytes


class Batch(Struct, frozen=True, array_like=True, tag=4):
    """What happened at the worker `sender` since its last batch."""

    sender: int
    body: bytes


class Lead(Struct, frozen=True, array_like=True, tag=5):
    """To a worker: the checks and files that only one worker looks after are yours now."""


class Gone(Struct, frozen=True, array_like=True, tag=6):
    """To a worker: the worker `index` has ended."""

    index: int


class Ready(Struct, frozen=True, array_like=True, tag=7):
    """From a worker: it serves clients."""


class Failed(Struct, frozen=True, array_like=True, tag=8):
    """From a worker: it can't start, for this reason."""

    reason: str


class Ask(Struct, frozen=True, array_like=True, tag=9):
    """A question of the worker `sender` to all others; `number` is its own count."""

    sender: int
    number: int
    body: bytes


class Answer(Struct, frozen=True, array_like=True, tag=10):
    """An answer to `sender`'s question `number`. Empty: nothing is known; to who asked: that was all."""

    sender: int
    number: int
    body: bytes


class Reload(Struct, frozen=True, array_like=True, tag=11):
    """To a worker: read the configuration again."""


class Stop(Struct, frozen=True, array_like=True, tag=12):
    """To a worker: finish what runs and end; a second one ends at once."""


Message = (
    Welcome | Found | Wanted | Picture | Batch | Lead | Gone | Ready | Failed | Ask | Answer | Reload | Stop
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class FramingError(ValueError):
    """The bytes are no messages."""


def encode(message: Message) -> bytes:
    """The message in its frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with these bytes.

        Raises:
            FramingError: the bytes are no messages; nothing after them can be read.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[:_LENGTH_BYTES], "big")
            if length > MAX_MESSAGE_BYTES:
                raise FramingError(f"a message of {length} bytes is announced")
            end = _LENGTH_BYTES + length
            if len(buffer) < end:
                return
            body = bytes(buffer[_LENGTH_BYTES:end])
            del buffer[:end]
            try:
                message: Message = _decoder.decode(body)
            except msgspec.DecodeError as error:
                raise FramingError(str(error)) from None
            yield message
