"""Publishing: a message, several in one round trip, and all of it only when the transaction commits.

What is published inside a transaction waits for its commit, or a browser that asks at once would be told what was before.
It goes out when the last of the atomic blocks commits that it lies in, of all databases; if one of them is rolled back, a
savepoint included, it never does. Outside of transactions it goes out at once.

A message that waited is beyond the caller's reach when it is sent: the data is saved, whatever becomes of the message. A
failure then is logged (``courier_django``, ERROR) and not raised.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from courier_django import client
from courier_django.channels import name_in_redis
from courier_django.conf import get_settings
from courier_django.errors import PublishError
from courier_django.payload import encode

logger = logging.getLogger("courier_django")


@dataclass(frozen=True)
class Published:
    """A message as the project published it, and as Redis gets it."""

    channel: str
    data: Any
    event: str | None
    #: With the prefix.
    name: str
    payload: bytes


class Outbox:
    """Where messages go: to Redis. ``courier_django.testing`` puts another in its place."""

    def send(self, messages: Sequence[Published]) -> None:
        """Now, from a thread."""
        client.send([(message.name, message.payload) for message in messages])

    async def asend(self, messages: Sequence[Published]) -> None:
        """Now, from a coroutine."""
        await client.asend([(message.name, message.payload) for message in messages])

    def hold(self, waiting: Waiting) -> None:
        """These wait for a commit. The transaction has them; there is nothing to do."""


outbox: Outbox = Outbox()


def publish(
    channel: str,
    data: Any,
    event: str | None = None,
    *,
    on_commit: bool | None = None,
    using: str | None = None,
) -> None:
    """Publishes ``data`` in ``channel``.

    ``str`` and ``bytes`` arrive as they are, everything else as JSON. ``event`` names the event; that needs
    ``COURIER["PAYLOAD"] = "envelope"``.

    Inside a transaction the message waits for its commit, unless ``on_commit=False`` (or ``COURIER["ON_COMMIT"]`` is).
    With ``using`` only the transaction of that database counts.
    """
    _send_or_wait([_message(channel, data, event)], on_commit, using)


async def apublish(
    channel: str,
    data: Any,
    event: str | None = None,
    *,
    on_commit: bool | None = None,
    using: str | None = None,
) -> None:
    """:func:`publish`, from a coroutine. The transaction is that of the thread that Django runs its queries in."""
    await _asend_or_wait([_message(channel, data, event)], on_commit, using)


class Pipeline:
    """Messages that go out together, in order and in one round trip, when the ``with`` block ends without an error."""

    def __init__(self, *, on_commit: bool | None = None, using: str | None = None) -> None:
        self._on_commit = on_commit
        self._using = using
        self._messages: list[Published] = []

    def publish(self, channel: str, data: Any, event: str | None = None) -> None:
        """Adds a message. Whatever is wrong with it is raised here."""
        self._messages.append(_message(channel, data, event))

    def __len__(self) -> int:
        return len(self._messages)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        messages = self._take()
        if kind is None and messages:
            _send_or_wait(messages, self._on_commit, self._using)

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        messages = self._take()
        if kind is None and messages:
            await _asend_or_wait(messages, self._on_commit, self._using)

    def _take(self) -> list[Published]:
        messages, self._messages = self._messages, []
        return messages


def pipeline(*, on_commit: bool | None = None, using: str | None = None) -> Pipeline:
    """Many messages in one round trip::

        with pipeline() as batch:
            for order in orders:
                batch.publish(f"orders.{order.pk}", order.as_dict())

    In a coroutine it is ``async with``.
    """
    return Pipeline(on_commit=on_commit, using=using)


class Waiting:
    """Messages that wait for a commit, or for those of several databases."""

    def __init__(self, messages: Sequence[Published], using: str | None) -> None:
        self.messages = messages
        self.using = using
        #: One for each transaction that has not been committed yet.
        self.tickets: set[Ticket] = set()

    def wait(self) -> bool:
        """Registers with every transaction that is open; false if there is none."""
        self.tickets = {Ticket(self, connection) for connection in _open_transactions(self.using)}
        for ticket in self.tickets:
            ticket.connection.on_commit(ticket)
        if self.tickets:
            outbox.hold(self)
        return bool(self.tickets)

    def is_waiting(self) -> bool:
        """Whether a commit would send the messages: none of the transactions was rolled back, nor have all committed."""
        return bool(self.tickets) and all(
            any(entry[1] is ticket for entry in ticket.connection.run_on_commit) for ticket in self.tickets
        )

    def committed(self, ticket: Ticket) -> None:
        """One of them is; a transaction that is rolled back never says so."""
        self.tickets.discard(ticket)
        if self.tickets:
            return
        try:
            outbox.send(self.messages)
        except PublishError:
            names = ", ".join(sorted({message.name for message in self.messages}))
            logger.exception("The transaction is committed, but this was not published in %s", names)


@dataclass(frozen=True, eq=False)
class Ticket:
    """What Django calls when the transaction of one database commits."""

    waiting: Waiting
    connection: BaseDatabaseWrapper

    def __call__(self) -> None:
        self.waiting.committed(self)


def _message(channel: str, data: Any, event: str | None) -> Published:
    settings = get_settings()
    name = name_in_redis(settings, channel)
    return Published(channel, data, event, name, encode(settings.payload, data, event))


def _send_or_wait(messages: Sequence[Published], on_commit: bool | None, using: str | None) -> None:
    if _waits(on_commit) and Waiting(messages, using).wait():
        return
    outbox.send(messages)


async def _asend_or_wait(messages: Sequence[Published], on_commit: bool | None, using: str | None) -> None:
    if _waits(on_commit) and await sync_to_async(Waiting(messages, using).wait)():
        return
    await outbox.asend(messages)


def _waits(on_commit: bool | None) -> bool:
    return get_settings().on_commit if on_commit is None else on_commit


def _open_transactions(using: str | None) -> list[BaseDatabaseWrapper]:
    """This thread's connections that are in an atomic block."""
    opened = [connections[using]] if using is not None else connections.all(initialized_only=True)
    return [connection for connection in opened if connection.in_atomic_block]
