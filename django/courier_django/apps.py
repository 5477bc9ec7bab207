"""The app: put ``"courier_django"`` into ``INSTALLED_APPS``."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed


class CourierConfig(AppConfig):
    name = "courier_django"
    label = "courier_django"
    verbose_name = "courier"

    def ready(self) -> None:
        from courier_django import checks  # noqa: F401 (registers them)

        setting_changed.connect(_forget_settings, dispatch_uid="courier_django.settings")


def _forget_settings(*, setting: str, **_: Any) -> None:
    """A test overrides settings."""
    from courier_django import client, conf

    if setting in ("COURIER", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "CSRF_TRUSTED_ORIGINS"):
        client.reset()
        conf.read_settings.cache_clear()
