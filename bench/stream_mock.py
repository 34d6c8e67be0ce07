"""A model server that streams as fast as it can: every event is an HTTP chunk and a `send` of its own.

    python -m bench.stream_mock PORT EVENTS

One thread, plain sockets, no Nagle. Streams take turns event by event, so a proxy meets many streams with a
little data each, as it does with real models; a proxy slower than the mock finds several events in one read.
The direct row of the bench shows how fast the mock itself is.
"""

import selectors
import socket
import sys

MODELS = b'{"object":"list","data":[{"id":"mock","object":"model","created":0,"owned_by":"bench"}]}'
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def event(content: str, finish: str = "null") -> bytes:
    """One chat completion chunk as a server-sent event, framed as one HTTP chunk."""
    data = (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":0,"model":"mock",'
        b'"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
        % (content.encode(), finish.encode())
    )
    return chunk(data)


def chunk(data: bytes) -> bytes:
    """`data` in HTTP/1.1 chunked framing."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(events: int) -> list[bytes]:
    """The pieces of one streamed answer: the head with the first event, then one piece per event."""
    # Each is another word: LiteLLM takes a hundred equal events for a model that has gone astray.
    pieces = [event(f"word{number} ") for number in range(events - 2)]
    pieces.append(event("", '"stop"'))
    pieces.append(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    pieces[0] = HEAD + pieces[0]
    return pieces


class Client:
    """One connection: what has been read of a request, and how far its answer has been sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send = sock.send
        self.inbox = bytearray()
        self.position = -1
        self.rest = b""

    def request(self) -> bytes | None:
        """The head of a request that has arrived whole (taken off the inbox), or None."""
        end = self.inbox.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.inbox[:end]).lower()
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(self.inbox) < end + 4 + length:
            return None
        del self.inbox[: end + 4 + length]
        return head


class Mock:
    """The event loop: reads requests and lets the running streams take turns."""

    def __init__(self, port: int, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.streams: list[Client] = []
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self.selector.select(0 if self.streams else None):
                if key.fileobj is self.listener:
                    self._accept()
                else:
                    self._read(key.data)
            self.streams = [client for client in self.streams if self._send(client)]

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(sock, selectors.EVENT_READ, Client(sock))

    def _read(self, client: Client) -> None:
        try:
            data = client.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.inbox += data
        if (head := client.request()) is None:
            return
        if head.startswith(b"post"):
            client.position = 0
            self.streams.append(client)
        else:
            fixed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            client.sock.send(fixed % (len(MODELS), MODELS))

    def _send(self, client: Client) -> bool:
        """Send the next piece; whether more is to come."""
        data = client.rest or self.pieces[client.position]
        try:
            sent = client.send(data)
        except BlockingIOError:
            return True
        except OSError:  # it left, or was dropped when its end was read
            self._drop(client)
            return False
        if sent < len(data):
            client.rest = data[sent:]
            return True
        client.rest = b""
        client.position += 1
        return client.position < len(self.pieces)

    def _drop(self, client: Client) -> None:
        if client.sock.fileno() >= 0:
            self.selector.unregister(client.sock)
            client.sock.close()


if __name__ == "__main__":
    Mock(int(sys.argv[1]), answer(int(sys.argv[2]))).run()
