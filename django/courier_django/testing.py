"""For the tests of projects: what was published, without a Redis.

With ``unittest``::

    class OrderTests(CourierTestMixin, TestCase):
        def test_shipping_tells_the_customer(self):
            order.ship()
            self.assertPublished("orders.7", {"state": "shipped"})

        def test_only_the_customer_hears_of_it(self):
            self.client.force_login(self.other)
            self.assertMayNotListen("orders.7")

With pytest the fixture ``courier_published`` is a :class:`Recorder`. Anywhere else, ``with record() as published:``.

A message that waits for a commit counts as published as long as nothing rolls it back: the transaction that Django's
``TestCase`` puts around every test never commits, and the test is about what the code would do in earnest.
"""

from __future__ import annotations

import json
import time
import unittest
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import ANY

from django.core.serializers.json import DjangoJSONEncoder
from django.test import Client

from courier_django import publishing
from courier_django.callback import sign
from courier_django.conf import get_settings
from courier_django.publishing import Outbox, Published, Waiting

__all__ = ["ANY", "CourierTestMixin", "Published", "Recorder", "may_listen", "record"]


class Recorder(Outbox):
    """Takes what is published instead of Redis."""

    def __init__(self) -> None:
        self._sent: list[Published] = []
        self._held: list[Waiting] = []

    def send(self, messages: Sequence[Published]) -> None:
        self._sent.extend(messages)

    async def asend(self, messages: Sequence[Published]) -> None:
        self._sent.extend(messages)

    def hold(self, waiting: Waiting) -> None:
        self._held.append(waiting)

    @property
    def messages(self) -> list[Published]:
        """What was sent, in order, and behind it what a commit would send."""
        return [*self._sent, *(one for held in self._held if held.is_waiting() for one in held.messages)]

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Published]:
        return iter(self.messages)

    def of(self, channel: str) -> list[Published]:
        """The messages of one channel."""
        return [message for message in self.messages if message.channel == channel]

    def matching(self, channel: str, data: Any = ANY, event: Any = ANY) -> list[Published]:
        """The messages of the channel with this data and this event; ``ANY`` is any."""
        return [one for one in self.of(channel) if _same(data, one.data) and event == one.event]

    def clear(self) -> None:
        """Forgets what was sent; what waits goes on waiting."""
        self._sent.clear()

    def assert_published(self, channel: str, data: Any = ANY, event: Any = ANY, *, count: int | None = None) -> None:
        """At least one such message, or exactly ``count``."""
        found = len(self.matching(channel, data, event))
        if found == count or (count is None and found):
            return
        wanted = "a message" if count is None else f"{count} message(s)"
        raise AssertionError(f"Expected {wanted} in {channel!r}{_described(data, event)}, found {found}. {self._listed()}")

    def assert_not_published(self, channel: str, data: Any = ANY, event: Any = ANY) -> None:
        """No such message."""
        self.assert_published(channel, data, event, count=0)

    def assert_nothing_published(self) -> None:
        """No message at all."""
        if self.messages:
            raise AssertionError(f"Expected no message. {self._listed()}")

    def _listed(self) -> str:
        if not self.messages:
            return "Nothing was published."
        lines = (f"\n  {one.channel!r}: {one.data!r}, event={one.event!r}" for one in self.messages)
        return "Published was:" + "".join(lines)


@contextmanager
def record() -> Iterator[Recorder]:
    """What is published inside the block, in this process, goes into the recorder instead of Redis."""
    recorder, before = Recorder(), publishing.outbox
    publishing.outbox = recorder
    try:
        yield recorder
    finally:
        publishing.outbox = before


def may_listen(client: Client, *channels: str) -> bool:
    """Whether the browser with this client's cookies would be let in to all of these channels, asked as courier asks."""
    settings = get_settings()
    question = {
        "right": "subscribe",
        "channels": [settings.name_in_redis(channel) for channel in channels],
        "cookies": {name: morsel.value for name, morsel in client.cookies.items()},
    }
    body = json.dumps(question).encode()
    # Of its own: what courier asks comes without the cookies of anybody.
    response = Client().post(
        settings.callback_path,
        body,
        content_type="application/json",
        headers={"X-Courier-Signature": sign(settings.secret, body, time.time())},
    )
    if response.status_code in (200, 401, 403):
        return response.status_code == 200
    raise AssertionError(f"courier would get no answer but {response.status_code}: {response.content!r}")


class CourierTestMixin(unittest.TestCase):
    """Beside one of Django's test cases: ``self.published`` has what the test published, and Redis gets nothing."""

    published: Recorder

    def setUp(self) -> None:
        stack = ExitStack()
        self.published = stack.enter_context(record())
        self.addCleanup(stack.close)
        super().setUp()

    def assertPublished(  # noqa: N802 (as unittest names things)
        self, channel: str, data: Any = ANY, event: Any = ANY, *, count: int | None = None
    ) -> None:
        """At least one such message was published, or exactly ``count``."""
        self.published.assert_published(channel, data, event, count=count)

    def assertNotPublished(self, channel: str, data: Any = ANY, event: Any = ANY) -> None:  # noqa: N802
        """No such message was published."""
        self.published.assert_not_published(channel, data, event)

    def assertMayListen(self, *channels: str) -> None:  # noqa: N802
        """Whoever is logged in with ``self.client`` would be let in to all of these channels."""
        if not may_listen(self._own_client(), *channels):
            raise AssertionError(f"courier would be told to refuse {', '.join(channels)}; the log of courier_django says why.")

    def assertMayNotListen(self, *channels: str) -> None:  # noqa: N802
        """Whoever is logged in with ``self.client`` would be refused."""
        if may_listen(self._own_client(), *channels):
            raise AssertionError(f"courier would be told to let them listen to {', '.join(channels)}.")

    def _own_client(self) -> Client:
        client: Client = self.client  # type: ignore[attr-defined]
        return client

    def assertNothingPublished(self) -> None:  # noqa: N802
        """Nothing was published at all."""
        self.published.assert_nothing_published()


def _same(expected: Any, data: Any) -> bool:
    """Equal as it is, or as a browser gets it: a tuple is a list there, a date its text."""
    if expected == data:
        return True
    try:
        return bool(expected == json.loads(json.dumps(data, cls=DjangoJSONEncoder)))
    except (TypeError, ValueError):
        return False


def _described(data: Any, event: Any) -> str:
    parts = [f" with the data {data!r}"] if data is not ANY else []
    if event is not ANY:
        parts.append(f" as the event {event!r}")
    return "".join(parts)
