"""Publishing into a real Redis: what arrives, when, and what does not."""

import asyncio
import datetime
import decimal
import os
import signal
import threading
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import TransactionTestCase, override_settings
from django.utils.translation import gettext_lazy

import courier_django
from courier_django import BadChannelError, BadPayloadError, PublishError, apublish, client, pipeline, publish
from shop.models import Order
from support.redis_server import Listener, RedisServer


class Rollback(Exception):
    """Undoes a block."""


@pytest.mark.usefixtures("real_redis")
class PublishingCase(TransactionTestCase):
    databases = {"default", "archive"}
    redis: RedisServer

    def listen(self, *channels: str) -> Listener:
        listener = Listener(self.redis.url, *channels)
        self.addCleanup(listener.close)
        return listener

    def next_is(self, listener: Listener, *payloads: str | bytes) -> None:
        for payload in payloads:
            expected = payload.encode() if isinstance(payload, str) else payload
            self.assertEqual(listener.next()[1], expected)


class WhatArrives(PublishingCase):
    def test_text_and_bytes_arrive_as_they_are_and_everything_else_as_json(self) -> None:
        listener = self.listen("news")
        for data, payload in [
            ("hällo\n", "hällo\n"),
            ("", ""),
            (b"\xff\x00", b"\xff\x00"),
            ({"ä": [1, None, True]}, '{"ä":[1,null,true]}'),
            (17, "17"),
            (None, "null"),
            ((1, 2), "[1,2]"),
            (
                {"at": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc)},
                '{"at":"2026-01-02T03:04:05.678Z"}',
            ),
            ({"price": decimal.Decimal("9.90")}, '{"price":"9.90"}'),
            (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
            ({"text": gettext_lazy("Yes")}, '{"text":"Yes"}'),
        ]:
            with self.subTest(data=data):
                publish("news", data)
                self.next_is(listener, payload)

    def test_an_envelope_has_the_data_and_the_event(self) -> None:
        listener = self.listen("news")
        with override_settings(COURIER={"URL": self.redis.url, "PAYLOAD": "envelope"}):
            publish("news", {"minute": 17}, "goal")
            publish("news", "text")
            publish("news", b"bytes", event="e")
            publish("news", {"data": 1})
        self.next_is(
            listener,
            '{"data":{"minute":17},"event":"goal"}',
            '{"data":"text"}',
            '{"data":"bytes","event":"e"}',
            '{"data":{"data":1}}',
        )

    def test_what_cannot_be_sent_is_told_with_its_remedy(self) -> None:
        with self.assertRaisesMessage(ImproperlyConfigured, 'Set COURIER["PAYLOAD"] = "envelope"'):
            publish("news", 1, event="goal")
        with self.assertRaisesMessage(BadPayloadError, "a dict of its fields"):
            publish("news", Order())
        with self.assertRaisesMessage(BadPayloadError, "cannot be JSON"):
            publish("news", float("nan"))
        with self.assertRaisesMessage(BadPayloadError, "UTF-8"):
            publish("news", "\ud83d")
        with override_settings(COURIER={"URL": self.redis.url, "PAYLOAD": "envelope"}):
            with self.assertRaisesMessage(BadPayloadError, "no line ends"):
                publish("news", 1, event="a\nb")
            with self.assertRaisesMessage(BadPayloadError, "not empty"):
                publish("news", 1, event="")
            with self.assertRaisesMessage(BadPayloadError, "UTF-8 text"):
                publish("news", b"\xff")
        for channel, reason in [
            ("", "not empty"),
            ("a\nb", "control"),
            ("a\x85b", "control"),
            ("ä" * 128, "255 bytes"),
            ("__keyspace", "reserved"),
            ("courier:control", "reserved"),
            (7, "str"),
        ]:
            with self.subTest(channel=channel), self.assertRaisesMessage(BadChannelError, reason):
                publish(channel, 1)  # type: ignore[arg-type]

    def test_the_prefix_stands_in_redis_only(self) -> None:
        listener = self.listen("shop.news")
        with override_settings(COURIER={"URL": self.redis.url, "PREFIX": "shop."}):
            publish("news", "1")
        self.assertEqual(listener.next(), ("shop.news", b"1"))

    def test_redis_url_counts_where_the_settings_name_none(self) -> None:
        listener = self.listen("news")
        os.environ["REDIS_URL"] = self.redis.tcp_url
        self.addCleanup(os.environ.pop, "REDIS_URL")
        with override_settings(COURIER={}):
            publish("news", "by the variable")
        self.next_is(listener, "by the variable")


class InTransactions(PublishingCase):
    def test_a_message_waits_for_the_commit(self) -> None:
        listener = self.listen("orders")
        with transaction.atomic():
            Order.objects.create()
            publish("orders", "after the commit")
            listener.nothing_before(lambda: publish("orders", "the next", on_commit=False))
        self.next_is(listener, "after the commit")

    def test_a_rollback_takes_its_messages_with_it(self) -> None:
        listener = self.listen("orders")
        with self.assertRaises(Rollback), transaction.atomic():
            publish("orders", "never")
            raise Rollback
        listener.nothing_before(lambda: publish("orders", "the next"))

    def test_a_savepoint_takes_only_its_own(self) -> None:
        listener = self.listen("orders")
        with transaction.atomic():
            publish("orders", "outer 1")
            with self.assertRaises(Rollback), transaction.atomic():
                publish("orders", "never")
                raise Rollback
            with transaction.atomic():
                publish("orders", "inner")
            publish("orders", "outer 2")
        self.next_is(listener, "outer 1", "inner", "outer 2")

    def test_of_several_databases_all_must_commit(self) -> None:
        listener = self.listen("orders")
        for outer, inner in [("default", "archive"), ("archive", "default")]:
            with transaction.atomic(outer):
                with transaction.atomic(inner):
                    publish("orders", "both")
                listener.nothing_before(lambda: publish("orders", "the next", on_commit=False))
            self.next_is(listener, "both")
            with self.assertRaises(Rollback), transaction.atomic(outer):
                with transaction.atomic(inner):
                    publish("orders", "never")
                raise Rollback
            with transaction.atomic(outer), self.assertRaises(Rollback), transaction.atomic(inner):
                publish("orders", "never")
                raise Rollback
            listener.nothing_before(lambda: publish("orders", "the next"))

    def test_one_database_alone_counts_if_it_is_named(self) -> None:
        listener = self.listen("orders")
        with self.assertRaises(Rollback), transaction.atomic("archive"):
            publish("orders", "at once", using="default")
            with transaction.atomic():
                publish("orders", "with its own", using="default")
            raise Rollback
        self.next_is(listener, "at once", "with its own")

    def test_the_setting_turns_it_off(self) -> None:
        listener = self.listen("orders")
        with override_settings(COURIER={"URL": self.redis.url, "ON_COMMIT": False}), transaction.atomic():
            publish("orders", "at once")
            self.next_is(listener, "at once")
            publish("orders", "later", on_commit=True)
        self.next_is(listener, "later")

    def test_a_message_that_is_lost_after_the_commit_is_logged_and_the_data_stays(self) -> None:
        with (
            override_settings(COURIER={"URL": "unix:///nowhere/redis.sock"}),
            self.assertLogs("courier_django", "ERROR") as logs,
            transaction.atomic(),
        ):
            Order.objects.create()
            publish("orders", "lost")
        self.assertIn("not published in orders", logs.output[0])
        self.assertEqual(Order.objects.count(), 1)

    def test_a_coroutine_that_a_transaction_waits_for_publishes_at_its_commit(self) -> None:
        listener = self.listen("orders")
        with transaction.atomic():
            async_to_sync(apublish)("orders", "after the commit")
            listener.nothing_before(lambda: publish("orders", "the next", on_commit=False))
        self.next_is(listener, "after the commit")
        with self.assertRaises(Rollback), transaction.atomic():
            async_to_sync(apublish)("orders", "never")
            raise Rollback
        listener.nothing_before(lambda: publish("orders", "the next"))


class Pipelines(PublishingCase):
    def test_many_messages_take_one_round_trip_and_keep_their_order(self) -> None:
        listener = self.listen("a", "b")
        with pipeline() as batch:
            for number in range(100):
                batch.publish("ab"[number % 2], number)
            self.assertEqual(len(batch), 100)
        self.assertEqual([listener.next()[1] for _ in range(100)], [b"%d" % number for number in range(100)])

    def test_an_error_in_the_block_sends_nothing_and_a_bad_message_is_told_where_it_is_added(self) -> None:
        listener = self.listen("a")
        with self.assertRaises(Rollback), pipeline() as batch:
            batch.publish("a", "never")
            raise Rollback
        with self.assertRaises(BadChannelError), pipeline() as batch:
            batch.publish("a", "never")
            batch.publish("", "never")
        with pipeline():
            pass
        listener.nothing_before(lambda: publish("a", "the next"))

    def test_a_pipeline_waits_for_the_commit_as_one(self) -> None:
        listener = self.listen("a")
        with transaction.atomic():
            with pipeline() as batch:
                batch.publish("a", "1")
                batch.publish("a", "2")
            listener.nothing_before(lambda: publish("a", "the next", on_commit=False))
        self.next_is(listener, "1", "2")

    def test_a_pipeline_in_a_coroutine(self) -> None:
        listener = self.listen("a")

        async def main() -> None:
            async with pipeline() as batch:
                batch.publish("a", "1")
                batch.publish("a", "2")
            await apublish("a", "3")
            await client.aclose()

        asyncio.run(main())
        self.next_is(listener, "1", "2", "3")


class Connections(PublishingCase):
    def test_one_pool_serves_all_threads_and_every_loop_has_its_own_client(self) -> None:
        listener = self.listen("a")
        threads = [threading.Thread(target=publish, args=("a", "x")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.next_is(listener, *["x"] * 8)
        self.assertIs(client.client(), client.client())

        async def main() -> object:
            await asyncio.gather(*(apublish("a", "y") for _ in range(8)))
            assert client.async_client() is client.async_client()
            await client.aclose()
            return client.async_client()

        self.assertIsNot(asyncio.run(main()), asyncio.run(main()))
        self.next_is(listener, *["y"] * 16)

    def test_a_child_of_a_fork_opens_connections_of_its_own(self) -> None:
        listener = self.listen("a")
        publish("a", "parent 1")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                publish("a", "child")
                code = 0
            finally:
                os._exit(code)
        signal.alarm(20)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        signal.alarm(0)
        publish("a", "parent 2")
        self.next_is(listener, "parent 1", "child", "parent 2")

    def test_a_restart_of_redis_costs_no_message(self) -> None:
        server = RedisServer()
        self.addCleanup(server.close)
        with override_settings(COURIER={"URL": server.url}):
            publish("a", "before")
            server.stop()
            with self.assertRaisesMessage(PublishError, f"Redis at {server.url} cannot be reached"):
                publish("a", "meanwhile")
            server.start()
            listener = Listener(server.url, "a")
            self.addCleanup(listener.close)
            publish("a", "after")
            self.next_is(listener, "after")
            server.stop()
            server.start()
            publish("a", "its pooled connection is dead")

    def test_a_refusal_says_what_redis_says_and_keeps_the_password(self) -> None:
        server = RedisServer("--requirepass", "right")
        self.addCleanup(server.close)
        for url in [f"redis://127.0.0.1:{server.port}", f"redis://:wrong-secret@127.0.0.1:{server.port}"]:
            with override_settings(COURIER={"URL": url}), self.assertRaises(PublishError) as raised:
                publish("a", "x")
            self.assertIn("COURIER['URL']", str(raised.exception))
            self.assertNotIn("wrong-secret", str(raised.exception))
        with override_settings(COURIER={"URL": f"redis://:right@127.0.0.1:{server.port}"}):
            publish("a", "x")

    def test_a_silent_redis_is_given_up_in_time(self) -> None:
        server = RedisServer()
        self.addCleanup(server.close)
        os.kill(server.process.child.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, server.process.child.pid, signal.SIGCONT)
        with override_settings(COURIER={"URL": server.url, "TIMEOUT": 0.2}):
            with self.assertRaises(PublishError):
                publish("a", "x")

            async def main() -> None:
                try:
                    await apublish("a", "x")
                finally:
                    await client.aclose()

            with self.assertRaises(PublishError):
                asyncio.run(main())


def test_the_names_of_the_package_are_there() -> None:
    for name in courier_django.__all__:
        assert hasattr(courier_django, name)
