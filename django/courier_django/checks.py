"""System checks: every mistake that can be seen before a browser meets it, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from courier_django.conf import read_settings


@register
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The setting ``COURIER``."""
    return [Error(one.message, hint=one.hint, id="courier_django.E001") for one in read_settings()[1]]
