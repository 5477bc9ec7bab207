"""Realtime for Django: publish in Redis, and courier delivers to very many browsers as Server-Sent Events."""

from __future__ import annotations

from courier_django.errors import BadChannelError, BadPayloadError, CourierError, PublishError
from courier_django.publishing import Pipeline, apublish, pipeline, publish

__all__ = [
    "BadChannelError",
    "BadPayloadError",
    "CourierError",
    "Pipeline",
    "PublishError",
    "apublish",
    "pipeline",
    "publish",
]

__version__ = "0.1.0"
