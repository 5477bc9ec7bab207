"""The connections to Redis: one pool for each process, and for asyncio one for each event loop.

A pool is made when it is first used, so a server that forks its workers shares no socket between them; one that was used
before the fork is dropped by the child. Every wait is bounded by ``COURIER["TIMEOUT"]``. A connection that turns out to be
dead is replaced once, because Redis may have been restarted since it was last used.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from courier_django.conf import get_settings
from courier_django.errors import PublishError

#: Channel and payload, as Redis gets them.
Message = tuple[str, bytes]


class _Clients:
    """What this process has open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Without closing anything: the sockets may be a parent's."""
        self.sync: redis.Redis | None = None
        self.asynchronous: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
            weakref.WeakKeyDictionary()
        )

    def after_fork(self) -> None:
        """In the child; another thread of the parent may have held the lock."""
        self.lock = threading.Lock()
        self.forget()


_clients = _Clients()
os.register_at_fork(after_in_child=_clients.after_fork)


def client() -> redis.Redis:
    """The process's client of Redis."""
    with _clients.lock:
        if _clients.sync is None:
            _clients.sync = redis.Redis.from_url(
                **_options(), retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
            )
        return _clients.sync


def async_client() -> redis.asyncio.Redis:
    """The running event loop's client of Redis."""
    loop = asyncio.get_running_loop()
    with _clients.lock:
        found = _clients.asynchronous.get(loop)
        if found is None:
            found = redis.asyncio.Redis.from_url(
                **_options(), retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
            )
            _clients.asynchronous[loop] = found
        return found


def send(messages: Sequence[Message]) -> None:
    """Publishes them in order, in one round trip."""
    try:
        with client().pipeline(transaction=False) as pipe:
            for channel, payload in messages:
                pipe.publish(channel, payload)
            pipe.execute()
    except redis.RedisError as error:
        raise _told(error) from error


async def asend(messages: Sequence[Message]) -> None:
    """Publishes them in order, in one round trip."""
    try:
        async with async_client().pipeline(transaction=False) as pipe:
            for channel, payload in messages:
                pipe.publish(channel, payload)
            await pipe.execute()
    except redis.RedisError as error:
        raise _told(error) from error


def close() -> None:
    """Closes the process's client; the next use opens another."""
    with _clients.lock:
        found, _clients.sync = _clients.sync, None
    if found is not None:
        found.close()
        found.connection_pool.disconnect()


async def aclose() -> None:
    """Closes the running event loop's client; the next use opens another."""
    with _clients.lock:
        found = _clients.asynchronous.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.aclose()
        await found.connection_pool.disconnect()


def reset() -> None:
    """After a change of settings."""
    close()
    _clients.forget()


def _options() -> dict[str, Any]:
    settings = get_settings()
    return {
        "url": settings.url,
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
    }


def _told(error: redis.RedisError) -> PublishError:
    where = get_settings().safe_url
    if isinstance(error, redis.AuthenticationError):
        return PublishError(f"Redis at {where} asks for another password than that of COURIER['URL'] or REDIS_URL: {error}")
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return PublishError(f"Redis at {where} cannot be reached ({error}). Does it run, and is COURIER['URL'] right?")
    return PublishError(f"Redis at {where} refused the message: {error}")
