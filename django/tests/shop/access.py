"""The function that is asked about channels which no view has."""

from typing import Any


def may_listen(request: Any, channel: str) -> bool:
    return channel == "free" or (channel == "mine" and bool(request.user.is_authenticated))


async def may_listen_later(request: Any, channel: str) -> bool:
    return channel == "free"
