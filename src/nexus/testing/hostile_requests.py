"""Requests that an HTTP server must refuse or see through, as bytes. No I/O."""

import json
from collections.abc import Mapping, Sequence

from msgspec import Struct

CHAT_PATH = "/v1/chat/completions"
SMUGGLED_MODEL = "smuggled"
_DEEP = 100_000
_CHUNKED = "Transfer-Encoding: chunked"


class Shape(Struct, frozen=True):
    """Bytes that two servers may read as different requests.

    `valid`: unusual, but with one meaning only, so a server should answer it as it would the plain form.
    Every other shape is to be refused. What is hidden in a shape asks for the model `SMUGGLED_MODEL`: if a
    backend ever sees that name, the smuggling has worked.
    """

    name: str
    data: bytes
    valid: bool = False


def chat_body(model: str = "m", *, stream: bool = False) -> bytes:
    """A small chat request."""
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


def request_bytes(
    body: bytes,
    *,
    path: str = CHAT_PATH,
    method: str = "POST",
    headers: Sequence[tuple[str, str]] = (),
    length: int | None = None,
) -> bytes:
    """A well-formed request; `length` overrides the `Content-Length` that is announced."""
    announced = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "Host: hostile", "Content-Type: application/json"]
    lines += [f"Content-Length: {announced}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked_bytes(chunks: Sequence[bytes], *, path: str = CHAT_PATH) -> bytes:
    """A well-formed request with a body in chunks."""
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return _head(path, "Transfer-Encoding: chunked") + pieces + b"0\r\n\r\n"


def smuggling_shapes(*, model: str = "m", path: str = CHAT_PATH) -> tuple[Shape, ...]:
    """The known ways to make two servers disagree about where a request ends, and what else is ambiguous."""
    parts = _Parts(path, chat_body(model), request_bytes(chat_body(SMUGGLED_MODEL), path=path))
    return _odd_framing(parts) + _odd_lines(parts) + _odd_chunks(parts) + _odd_starts(parts)


class _Parts:
    """What shapes are put together from: a body, plain and as one chunk, and a request hidden behind it."""

    def __init__(self, path: str, body: bytes, hidden: bytes) -> None:
        self.path, self.body, self.hidden = path, body, hidden
        self.size = len(body)
        self.whole = b"%x\r\n%b\r\n0\r\n\r\n" % (self.size, body)
        self.plain = request_bytes(body, path=path)
        self.length = f"Content-Length: {self.size}"

    def shape(self, name: str, *lines: str, rest: bytes | None = None, valid: bool = False) -> Shape:
        """A head of these lines, then `rest`, or the body and the hidden request."""
        return Shape(
            name, _head(self.path, *lines) + (self.body + self.hidden if rest is None else rest), valid
        )


def _odd_framing(parts: _Parts) -> tuple[Shape, ...]:
    """Lengths and codings, several of them or malformed."""
    shape, body, hidden = parts.shape, parts.body, parts.hidden
    size, whole, length = parts.size, parts.whole, parts.length
    return (
        shape("length-and-chunked", length, _CHUNKED, rest=b"0\r\n\r\n" + hidden),
        shape("chunked-and-length", _CHUNKED, f"Content-Length: {len(whole)}", rest=whole + hidden),
        shape("two-equal-lengths", length, length),
        shape("two-lengths", length, f"Content-Length: {size + len(hidden)}"),
        shape("two-lengths-zero-first", "Content-Length: 0", length),
        shape("list-of-lengths", f"Content-Length: {size}, {size}"),
        shape("signed-length", f"Content-Length: +{size}"),
        shape("negative-length", "Content-Length: -1"),
        shape("hexadecimal-length", f"Content-Length: 0x{size:x}"),
        shape("length-with-a-blank", "Content-Length: 1 0"),
        shape("length-beyond-64-bits", f"Content-Length: {2**64 + size}"),
        shape("empty-length", "Content-Length:"),
        shape("blank-before-colon", f"Content-Length : {size}"),
        shape("tab-before-colon", "Transfer-Encoding\t: chunked", rest=whole + hidden),
        shape("unknown-coding", "Transfer-Encoding: xchunked", rest=whole + hidden),
        shape("chunked-not-last", "Transfer-Encoding: chunked, identity", rest=whole + hidden),
        shape("chunked-twice", _CHUNKED, "Transfer-Encoding: chunked, cow", rest=whole + hidden),
        shape("coding-after-vertical-tab", "Transfer-Encoding: \x0bchunked", rest=whole + hidden),
        shape("folded-line", "X-Long: a\r\n " + length, rest=body + hidden),
        shape("folded-coding", "Transfer-Encoding:\r\n chunked", rest=whole + hidden),
        shape("coding-in-odd-case", "tRaNsFeR-eNcOdInG: cHuNkEd", rest=whole, valid=True),
    )


def _odd_lines(parts: _Parts) -> tuple[Shape, ...]:
    """Header lines that parsers read in different ways."""
    shape, hidden, plain, length = parts.shape, parts.hidden, parts.plain, parts.length
    return (
        shape("line-without-colon", "Nonsense", length),
        shape("empty-name", ": value", length),
        shape("zero-byte-in-value", "X-Odd: a\x00b", length),
        shape("carriage-return-in-value", f"X-Odd: a\r{length}"),
        Shape("bare-line-feeds", plain.replace(b"\r\n", b"\n") + hidden),
        shape("one-bare-line-feed", f"X-Odd: a\n{length}"),
    )


def _odd_chunks(parts: _Parts) -> tuple[Shape, ...]:
    """Chunks that parsers read in different ways, and odd ones that have one meaning."""
    shape, body, hidden, size, whole = parts.shape, parts.body, parts.hidden, parts.size, parts.whole
    return (
        shape("negative-chunk", _CHUNKED, rest=b"-1\r\n" + whole + hidden),
        shape("huge-chunk", _CHUNKED, rest=b"fffffffffffffffff\r\n" + body + hidden),
        shape("prefixed-chunk", _CHUNKED, rest=b"0x" + whole + hidden),
        shape("blank-in-chunk-size", _CHUNKED, rest=b" " + whole + hidden),
        shape("chunk-without-its-end", _CHUNKED, rest=b"%x\r\n%b0\r\n\r\n" % (size, body) + hidden),
        shape("chunk-ended-by-line-feed", _CHUNKED, rest=whole.replace(b"\r\n", b"\n") + hidden),
        shape(
            "line-feed-in-chunk-extension", _CHUNKED, rest=b"%x;a\n%b\r\n0\r\n\r\n" % (size, body) + hidden
        ),
        shape(
            "chunk-extension", _CHUNKED, rest=b'%x;a="b";c\r\n%b\r\n0;d\r\n\r\n' % (size, body), valid=True
        ),
        shape("trailer", _CHUNKED, rest=whole[:-2] + b"X-After: 1\r\n\r\n", valid=True),
        shape("zeros-before-chunk-size", _CHUNKED, rest=b"000" + whole, valid=True),
    )


def _odd_starts(parts: _Parts) -> tuple[Shape, ...]:
    """First lines that are not of an HTTP/1.1 request."""
    body, hidden, plain, length, path = parts.body, parts.hidden, parts.plain, parts.length, parts.path
    return (
        Shape("no-host", f"POST {path} HTTP/1.1\r\n{length}\r\n\r\n".encode() + body + hidden),
        Shape("tunnel", b"CONNECT hostile:80 HTTP/1.1\r\nHost: hostile\r\n\r\n" + hidden),
        Shape("other-version", plain.replace(b"HTTP/1.1", b"HTTP/9.9") + hidden),
        Shape("no-version", f"POST {path}\r\n\r\n".encode() + hidden),
        Shape("blank-in-target", plain.replace(path.encode(), path.encode() + b" /x") + hidden),
        Shape("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden),
        Shape("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64),
        Shape("absolute-target", plain.replace(path.encode(), f"http://hostile{path}".encode()), valid=True),
    )


def upgrades(*, model: str = "m", path: str = CHAT_PATH) -> tuple[Shape, ...]:
    """Requests that ask to go on in another protocol, followed by bytes of it."""
    settings = (("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"))
    hidden = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + request_bytes(chat_body(SMUGGLED_MODEL), path=path)
    sent = {"h2c": (("Upgrade", "h2c"), *settings), "websocket": _WEBSOCKET}
    return tuple(
        Shape(f"upgrade-{name}", request_bytes(chat_body(model), path=path, headers=headers) + hidden)
        for name, headers in sent.items()
    )


_WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)


def bad_bodies(*, model: str = "m") -> Mapping[str, bytes]:
    """Bodies that are no acceptable JSON, by name. All are to be refused as the client's mistake."""
    good = chat_body(model)
    text = good[:-1]
    return {
        "empty": b"",
        "not-json": b"model=m",
        "cut": text,
        "two-documents": good + good,
        "array": b"[" + good + b"]",
        "text": b'"' + model.encode() + b'"',
        "null": b"null",
        "invalid-utf-8": good.replace(b'"hi"', b'"\xff\xfe"'),
        "invalid-utf-8-in-an-unknown-field": text + b',"x":"\xc3("}',
        "deep": text + b',"x":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
        "deep-and-cut": text + b',"x":' + b'{"a":' * _DEEP,
        "nan": text + b',"temperature":NaN}',
        "infinity": text + b',"temperature":-Infinity}',
        "control-character": good.replace(b'"hi"', b'"h\x00i"'),
        "single-quotes": good.replace(b'"', b"'"),
        "trailing-comma": text + b",}",
        "comment": good + b"// why not",
        "byte-order-mark": b"\xef\xbb\xbf" + good,
        "wrong-type": good.replace(f'"{model}"'.encode(), b'{"a":1}'),
        "no-model": b'{"messages":[]}',
        "no-messages": b'{"model":"' + model.encode() + b'"}',
    }


def odd_bodies(*, model: str = "m") -> Mapping[str, bytes]:
    """Bodies that are unusual and valid: they are to reach a backend as they are. By name."""
    good = chat_body(model)
    text = good[:-1]
    return {
        "huge-integer": text + b',"seed":' + b"9" * 400 + b"}",
        "huge-limit": text + b',"max_tokens":' + b"9" * 400 + b"}",
        "negative-limit": text + b',"max_tokens":-1}',
        "huge-exponent": text + b',"x":1e99999}',
        "duplicate-keys": b'{"model":"other",' + good[1:],
        "blanks": b" \r\n\t" + good + b"\n ",
        "unknown-fields": text + b',"x":{"y":[1,null,true]}}',
        "moderately-deep": text + b',"x":' + b"[" * 200 + b"]" * 200 + b"}",
    }


def _head(path: str, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: hostile", "Content-Type: application/json", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
