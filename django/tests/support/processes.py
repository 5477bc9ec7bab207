"""Child processes of a test: their output is kept, every wait has a deadline, and each is ended by its own handle."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 20.0
STOP_SECONDS = 5.0
REPOSITORY = Path(__file__).resolve().parents[3]


class Process:
    """One child. A context manager that ends it."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=clean_environment() if environment is None else environment,
            cwd=cwd,
        )

    @property
    def output(self) -> str:
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """The exit code."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.child.args!r} did not end in {seconds} s:\n{self.output}") from error

    def until(self, what: str, probe: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
        """As :func:`until`, and fails at once if the process ends."""

        def looked() -> Any:
            found = probe()
            if not found and self.child.poll() is not None:
                raise AssertionError(f"{self.child.args!r} ended before: {what}\n{self.output}")
            return found

        return until(what, looked, seconds, lambda: self.output)

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(STOP_SECONDS)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.log.close()


def until(
    what: str,
    probe: Callable[[], Any],
    seconds: float = DEADLINE_SECONDS,
    output: Callable[[], str] = lambda: "",
) -> Any:
    """Looks until the probe finds something true; an OSError means not yet."""
    deadline = time.monotonic() + seconds
    while True:
        last: object = None
        try:
            if found := probe():
                return found
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s, still not: {what} ({last})\n{output()}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)):
        return True


def clean_environment(**more: str) -> dict[str, str]:
    """The tests' own environment, without what courier or Django would take for options."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COURIER_") and name not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE")
    }
    return kept | more


def courier_binary() -> str:
    """The binary that ``COURIER_BIN`` names, or the newest build."""
    if named := os.environ.get("COURIER_BIN"):
        return named
    built = [REPOSITORY / "target" / profile / "courier" for profile in ("release", "debug")]
    found = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    assert found, "there is no courier binary: run cargo build, or set COURIER_BIN"
    return str(found[-1])
