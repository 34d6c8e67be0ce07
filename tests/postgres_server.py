"""A PostgreSQL server made of this machine's programs, in a temporary directory, for the ledger's tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg

_START_SECONDS = 30.0
# The shell outlives the server and ends it as soon as the test's end of standard input is closed.
_TETHER = '"$@" </dev/null & trap "kill -QUIT $!; wait" EXIT; read -r _'


def find_postgres() -> Path | None:
    """The directory with `initdb` and `postgres`, or None; Debian keeps it out of PATH."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if os.access(folder / "postgres", os.X_OK)), None)


class PostgresServer:
    """A server on a Unix socket, gone with the block or the process that started it.

    It refuses to run as root, so root starts it as `postgres` or `nobody`. Unless it is to be `durable`, it
    does not wait for the disk.
    """

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._binaries = binaries
        self._fsync = "on" if durable else "off"
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="nexus-pg-"))
        self._server: subprocess.Popen[bytes] | None = None
        self._schemas = 0

    def __enter__(self) -> Self:
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        initdb: list[str | Path] = [
            self._binaries / "initdb",
            "--no-sync",
            "-A",
            "trust",
            "-U",
            "nexus",
            "-E",
            "UTF8",
        ]
        subprocess.run(
            [*initdb, "--locale=C", "-D", self._folder / "data"],
            check=True,
            capture_output=True,
            **self._as_user(),
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options: list[str | Path] = [
            "-c",
            f"fsync={self._fsync}",
            "-c",
            "listen_addresses=",
            "-k",
            self._folder,
        ]
        postgres: list[str | Path] = [self._binaries / "postgres", "-D", self._folder / "data", *options]
        self._server = subprocess.Popen(
            ["/bin/sh", "-c", _TETHER, "sh", *postgres],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_user(),
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End the server at once, as a crash would."""
        if self._server is not None:
            self._server.communicate()
            self._server = None

    def url(self, schema: str = "public") -> str:
        """The URL of a ledger whose tables are in this schema."""
        options = quote(f"-c search_path={schema}")
        return f"postgresql:///postgres?host={quote(str(self._folder))}&user=nexus&options={options}"

    def fresh_url(self) -> str:
        """The URL of a schema that nobody has used yet."""
        self._schemas += 1
        schema = f"test_{self._schemas}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        return self.url(schema)

    def _as_user(self) -> dict[str, Any]:
        common: dict[str, Any] = {"cwd": self._folder, "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        if self._user is None:
            return common
        return {**common, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _unprivileged() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]
