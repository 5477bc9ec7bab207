"""Realtime for Django: publish in Redis, and courier delivers to very many browsers as Server-Sent Events."""

from __future__ import annotations

from courier_django.errors import BadChannelError, BadPayloadError, CourierError, PublishError
from courier_django.publishing import Pipeline, apublish, pipeline, publish
from courier_django.views import RealtimeMixin, RealtimeView, anyone, logged_in, realtime

__all__ = [
    "BadChannelError",
    "BadPayloadError",
    "CourierError",
    "Pipeline",
    "PublishError",
    "RealtimeMixin",
    "RealtimeView",
    "anyone",
    "apublish",
    "logged_in",
    "pipeline",
    "publish",
    "realtime",
]

__version__ = "0.1.0"
