"""Names of channels."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from courier_django.errors import BadChannelError

if TYPE_CHECKING:
    from courier_django.conf import Settings

#: The beginnings of names that belong to Redis and to courier.
RESERVED = ("__", "courier:")
#: The longest name that courier takes, in bytes, prefix included.
CHANNEL_BYTES_MAX = 255


def name_in_redis(settings: Settings, channel: str) -> str:
    """The name with the prefix, checked as courier would check it."""
    if not isinstance(channel, str):
        raise BadChannelError(f"A channel's name is a str, not {type(channel).__name__}: {channel!r}")
    if not channel:
        raise BadChannelError("A channel's name is not empty.")
    name = settings.name_in_redis(channel)
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise BadChannelError(f"A channel's name is text that UTF-8 can carry, not {channel!r}.") from error
    if length > CHANNEL_BYTES_MAX:
        raise BadChannelError(f"A channel's name has at most {CHANNEL_BYTES_MAX} bytes; {channel!r} has {length}.")
    if has_control_character(name):
        raise BadChannelError(f"A channel's name has no control characters: {channel!r}")
    if name.startswith(RESERVED):
        raise BadChannelError(f"Names that begin with __ or courier: are reserved: {name!r}")
    return name


def has_control_character(text: str) -> bool:
    """Whether it has one of those that neither a name nor a log line can carry (C0, DEL and C1)."""
    return any(unicodedata.category(character) == "Cc" for character in text)
