"""``manage.py courier_config``: courier's configuration from the settings, on standard output."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from courier_django import config_file
from courier_django.conf import get_settings


class Command(BaseCommand):
    help = (
        "Prints courier's configuration (TOML), made from the project's settings. It holds secrets: "
        "umask 077; manage.py courier_config > courier.toml"
    )

    def handle(self, *_: Any, **__: Any) -> None:
        self.stdout.write(config_file.written(get_settings()), ending="")
