"""What goes wrong here, with the remedy in the message."""

from __future__ import annotations


class CourierError(Exception):
    """Anything that this package raises by itself."""


class PublishError(CourierError):
    """Redis did not take a message. The cause says why."""


class BadChannelError(CourierError, ValueError):
    """A name that no channel can have."""


class BadPayloadError(CourierError, ValueError):
    """Data that cannot be sent as it is."""
