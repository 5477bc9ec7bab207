"""What projects test with. No Redis runs at the address of these settings."""

import datetime
import unittest

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import SimpleTestCase, TestCase, override_settings

from courier_django import apublish, pipeline, publish
from courier_django.testing import ANY, CourierTestMixin, Recorder, record

MIDDLEWARE = "courier_django.middleware.CourierMiddleware"
NOWHERE = {"URL": "unix:///nowhere/redis.sock", "PAYLOAD": "envelope", "PREFIX": "shop."}


@override_settings(COURIER=NOWHERE)
class WithTheMixin(CourierTestMixin, TestCase):
    def test_messages_count_although_the_tests_transaction_never_commits(self) -> None:
        publish("orders.7", {"state": "shipped"}, event="order")
        self.assertPublished("orders.7", {"state": "shipped"}, event="order")
        self.assertPublished("orders.7")
        self.assertPublished("orders.7", count=1)
        self.assertNotPublished("orders.7", event=None)
        self.assertNotPublished("orders.8")
        self.assertEqual(self.published.messages[0].name, "shop.orders.7")
        self.assertEqual(self.published.messages[0].payload, b'{"data":{"state":"shipped"},"event":"order"}')

    def test_what_is_rolled_back_does_not_count(self) -> None:
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            publish("a", 1)
            self.assertPublished("a", 1)
            raise ZeroDivisionError
        self.assertNothingPublished()

    def test_what_djangos_own_helper_commits_counts_once(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            publish("a", 1)
        self.assertPublished("a", 1)

    def test_the_order_is_that_of_the_code(self) -> None:
        publish("a", 1)
        with pipeline() as batch:
            batch.publish("a", 2)
            batch.publish("b", 3)
        self.assertEqual([message.data for message in self.published], [1, 2, 3])
        self.assertEqual([message.data for message in self.published.of("a")], [1, 2])

    def test_data_is_compared_as_it_is_or_as_a_browser_gets_it(self) -> None:
        publish("a", {"day": datetime.date(2026, 1, 2), "pair": (1, 2)})
        self.assertPublished("a", {"day": datetime.date(2026, 1, 2), "pair": (1, 2)})
        self.assertPublished("a", {"day": "2026-01-02", "pair": [1, 2]})
        self.assertPublished("a", {"day": ANY, "pair": [1, 2]})

    def test_a_failure_says_what_was_published_instead(self) -> None:
        publish("a", {"x": 1}, event="e")
        with self.assertRaisesMessage(AssertionError, "'a': {'x': 1}, event='e'"):
            self.assertPublished("a", {"x": 2})
        with self.assertRaisesMessage(AssertionError, "Expected 2 message(s) in 'a', found 1"):
            self.assertPublished("a", count=2)
        with self.assertRaisesMessage(AssertionError, "Expected no message"):
            self.assertNothingPublished()

    async def test_coroutines_are_recorded_too(self) -> None:
        await apublish("a", 1)
        async with pipeline() as batch:
            batch.publish("a", 2)
        self.assertPublished("a", count=2)


@override_settings(COURIER=NOWHERE)
class WhoMayListen(CourierTestMixin, TestCase):
    def test_the_project_is_asked_as_courier_asks(self) -> None:
        self.assertMayListen("chat.main")
        self.assertMayNotListen("/members/")
        user = User.objects.create_user("anna")
        self.client.force_login(user)
        self.assertMayListen("/members/", f"notices.{user.pk}")
        self.assertMayNotListen("chat.secret")
        with self.assertRaisesMessage(AssertionError, "let them listen to chat.main"):
            self.assertMayNotListen("chat.main")
        with self.assertRaisesMessage(AssertionError, "refuse chat.secret"):
            self.assertMayListen("chat.secret")

    def test_an_answer_that_is_none_is_told(self) -> None:
        without = {"MIDDLEWARE": {"remove": [MIDDLEWARE]}}
        with self.modify_settings(**without), self.assertRaisesMessage(AssertionError, "no answer but 404"):
            self.assertMayListen("chat.main")


@override_settings(COURIER=NOWHERE)
class Anywhere(SimpleTestCase):
    def test_a_recorder_ends_with_its_block(self) -> None:
        with record() as outer:
            publish("a", 1)
            with record() as inner:
                publish("a", 2)
            publish("a", 3)
        self.assertEqual([message.data for message in outer], [1, 3])
        self.assertEqual([message.data for message in inner], [2])
        outer.clear()
        outer.assert_nothing_published()
        with self.assertRaisesMessage(AssertionError, "Nothing was published."):
            outer.assert_published("a")


def test_pytest_has_a_fixture(courier_published: Recorder) -> None:
    publish("a", 1)
    courier_published.assert_published("a", 1)
    assert len(courier_published) == 1


def test_the_mixin_alone_is_no_test() -> None:
    assert unittest.defaultTestLoader.loadTestsFromTestCase(CourierTestMixin).countTestCases() == 0
    with pytest.raises(AssertionError), record() as published:
        published.assert_published("a")
