"""``manage.py runcourier``: courier beside Django, with the configuration that the settings make.

This process becomes courier, so signals and the exit code are courier's own. With ``--runserver`` it stays, to run Django's
development server as well: signals are passed on to both, and whichever ends takes the other with it.

The configuration, which holds secrets, lies in memory only.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError

from courier_django import binary, config_file
from courier_django.conf import Settings, get_settings, standard_origins
from courier_django.errors import CourierError

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Beyond courier's own time for stopping, which is 10 s if nothing else is configured.
_STOP_SECONDS = 30.0
#: prctl(2): the signal that a process gets when its parent is gone.
_PR_SET_PDEATHSIG = 1


class Command(BaseCommand):
    help = "Starts courier from the project's settings. What stands behind -- is given to courier as it is."
    requires_system_checks = ["courier_django"]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--binary", default="", metavar="PATH", help="The courier program, if it is not on the path.")
        parser.add_argument(
            "--runserver",
            nargs="?",
            const="",
            metavar="ADDRESS:PORT",
            help='Starts Django\'s development server as well, at this address or that of COURIER["DJANGO_URL"].',
        )
        parser.add_argument("options", nargs="*", metavar="-- OPTION", help="Options of courier, such as --check-config.")

    def handle(self, *_: Any, **options: Any) -> None:
        settings = get_settings()
        try:
            program = binary.find(settings, options["binary"])
        except CourierError as error:
            raise CommandError(str(error)) from error
        address: str | None = options["runserver"]
        if address is not None:
            settings, address = _served(settings, address)
        file = _in_memory(config_file.written(settings))
        command = [program, "--config", f"/proc/self/fd/{file}", *options["options"]]
        self.stdout.flush()
        self.stderr.flush()
        if address is None:
            os.execve(program, command, _environment())  # noqa: S606 (no shell is wanted)
        with _Children() as children:
            children.start(command, _environment(), file)
            children.start([sys.executable, sys.argv[0], "runserver", address], dict(os.environ))
            code = children.wait()
        sys.exit(code)


class _Children:
    """Processes that end together."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.is_asked_to_stop = False

    def __enter__(self) -> _Children:
        self.before = {number: signal.signal(number, self._forward) for number in _FORWARDED}
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(signal.SIGTERM)
        for child in self.running:
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def start(self, command: list[str], environment: dict[str, str], *files: int) -> None:
        # A session of its own: a Ctrl-C reaches it once, by this process.
        child = subprocess.Popen(  # noqa: S603
            command, env=environment, pass_fds=files, start_new_session=True, preexec_fn=_end_with_parent
        )
        self.running.append(child)

    def wait(self) -> int:
        """Until the first ends: its exit code, or 128 and the signal that ended it, as in a shell."""
        children = {child.pid: child for child in self.running}
        pid = 0
        while pid not in children:
            pid, status = os.wait()
        code = children[pid].returncode = os.waitstatus_to_exitcode(status)
        if self.is_asked_to_stop and -code in _FORWARDED:
            return 0
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, _: FrameType | None) -> None:
        self.is_asked_to_stop = True
        self._stop(number)

    def _stop(self, number: int) -> None:
        for child in self.running:
            if child.returncode is None:
                os.killpg(child.pid, number)


def _served(settings: Settings, address: str) -> tuple[Settings, str]:
    """The settings for a development server at this address, and the address in full."""
    parts = urlsplit(f"//{address}" if address else settings.django_url)
    if address.isdigit():
        parts = urlsplit(f"//127.0.0.1:{address}")
    if not parts.hostname or not parts.port:
        raise CommandError("The development server needs an address and a port: --runserver 127.0.0.1:8000")
    url = f"http://{parts.hostname}:{parts.port}"
    if url == settings.django_url:
        return settings, f"{parts.hostname}:{parts.port}"
    origins = tuple(dict.fromkeys([*settings.allowed_origins, *standard_origins(url)]))
    changed = dataclasses.replace(settings, django_url=url, allowed_origins=origins)
    return changed, f"{parts.hostname}:{parts.port}"


def _in_memory(text: str) -> int:
    """A file that has no name, which courier inherits."""
    file = os.memfd_create("courier.toml", 0)
    os.write(file, text.encode())
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _end_with_parent() -> None:
    """In the child: not even a SIGKILL of this process leaves it behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """Without REDIS_URL: the file says where Redis is."""
    return {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
