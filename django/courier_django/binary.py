"""Where the ``courier`` program is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from courier_django.conf import Settings
from courier_django.errors import CourierError

_HOW_TO_GET_IT = """\
courier is a program of its own, beside Django. To get it:

  - build it: `cargo install --path .` in a clone of courier puts it on your path (Linux 6.13 or newer, Rust, a C compiler);
  - or, if you have it somewhere, say where: COURIER = {"BINARY": "/path/of/courier"}, or --binary /path/of/courier."""


class NoBinaryError(CourierError):
    """There is no program; the message says how to get it."""


def find(settings: Settings, named: str = "") -> str:
    """The program that is named, or that of the settings, or the one on the path."""
    wanted = named or settings.binary
    if wanted:
        if not os.access(wanted, os.X_OK) or Path(wanted).is_dir():
            raise NoBinaryError(f"{wanted} is no program that can be run.\n\n{_HOW_TO_GET_IT}")
        return wanted
    found = shutil.which("courier")
    if found is None:
        raise NoBinaryError(f"There is no `courier` on the path.\n\n{_HOW_TO_GET_IT}")
    return found
