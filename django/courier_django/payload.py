"""What is sent to Redis for a piece of data.

A ``str`` and UTF-8 ``bytes`` are text: they arrive in the browser as they are. Anything else arrives as JSON, by Django's
own encoder, so that dates, decimals, UUIDs and lazy translations need no care. This holds in both modes of
``COURIER["PAYLOAD"]``; what differs is only how it travels:

- ``"raw"``: the text or the JSON is the payload. ``bytes`` may be anything then.
- ``"envelope"``: the payload is ``{"data": .., "event": ..}``, which courier opens; an event can have a name.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder

from courier_django.conf import Payload
from courier_django.errors import BadPayloadError


def encode(mode: Payload, data: Any, event: str | None) -> bytes:
    """The bytes of the message."""
    if mode == "envelope":
        envelope = {"data": _text(data) if isinstance(data, bytes) else data}
        if event is not None:
            envelope["event"] = _event(event)
        return _json(envelope)
    if event is not None:
        raise ImproperlyConfigured(
            f"publish(event={event!r}) needs envelopes: plain payloads cannot name an event. "
            'Set COURIER["PAYLOAD"] = "envelope", and let courier know by the rows that `manage.py courier_config` prints.'
        )
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return _utf8(data)
    return _json(data)


def _json(data: Any) -> bytes:
    try:
        # No NaN: a browser's JSON.parse does not take it.
        text = json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise BadPayloadError(f"The data cannot be JSON: {error}") from error
    except TypeError as error:
        raise BadPayloadError(
            f"The data cannot be JSON: {error}. Publish what it consists of, for instance a dict of its fields."
        ) from error
    return _utf8(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadPayloadError(f"The data has a character that UTF-8 cannot carry: {error}") from error


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadPayloadError(f"In an envelope bytes are UTF-8 text, which these are not: {error}") from error


def _event(event: str) -> str:
    if not isinstance(event, str) or not event:
        raise BadPayloadError(f"The name of an event is a text that is not empty, not {event!r}.")
    if any(character in event for character in "\r\n\0"):
        raise BadPayloadError(f"The name of an event has no line ends and no NUL: {event!r}")
    return event
