"""A worker that does what its configuration file's name says; run by the supervisor in its tests."""

import signal
import socket
import sys
import time

from nexus.app.workers.link import first_message
from nexus.app.workers.messages import (
    Failed,
    Frames,
    Lead,
    Picture,
    Ready,
    Stop,
    Wanted,
    Welcome,
    encode,
)


def main() -> int:
    sock = socket.socket(fileno=int(sys.argv[1]))
    welcome, waiting, frames = first_message(sock)
    assert isinstance(welcome, Welcome)
    role, _, what = welcome.file.rpartition("/")[2].partition(".")
    if role == "refuses":
        sock.sendall(encode(Failed("no room")))
        return 1
    if role == "crashes":
        return 3
    sock.sendall(encode(Ready()))
    if welcome.index == 1 and role == "faulty":
        sock.sendall(b"\xff\xff\xff\xff" if what == "noise" else encode(Lead()))
    if role == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    return serve(sock, list(waiting), frames)


def serve(sock: socket.socket, waiting: list[object], frames: Frames) -> int:
    while True:
        for message in waiting:
            if isinstance(message, Wanted):
                sock.sendall(encode(Picture(message.target, b"")))
            if isinstance(message, Stop):
                return 0
        data = sock.recv(65536)
        if not data:
            return 0
        waiting = list(frames.feed(data))


if __name__ == "__main__":
    sys.exit(main())
