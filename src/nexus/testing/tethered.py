"""Runs a module as a program that gets SIGTERM when its parent is gone.

`python -m nexus.testing.tethered MODULE [ARGUMENT…]`: the parent holds the other end of standard input and
writes nothing; however it ends, the pipe closes. Unlike a death signal this needs no particular system.
"""

import os
import runpy
import signal
import sys
import threading


def follow_stdin() -> None:
    """Return at once; send this process SIGTERM when standard input ends."""

    def watch() -> None:
        # Read past Python's buffer: a thread that holds its lock makes the interpreter's own exit fail.
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def main() -> None:
    """Become the module named by the first argument."""
    follow_stdin()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
