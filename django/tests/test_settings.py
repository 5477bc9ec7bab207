"""The setting ``COURIER``: defaults, mistakes, and what is made of other settings."""

from dataclasses import fields

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from courier_django import publish
from courier_django.conf import Settings, get_settings, read_settings
from support.processes import REPOSITORY


class TheSetting(SimpleTestCase):
    def test_everything_has_a_default(self) -> None:
        settings, problems = read_settings()
        self.assertEqual(problems, ())
        self.assertEqual(settings.url, "redis://127.0.0.1:6379/0")
        self.assertEqual((settings.payload, settings.prefix, settings.on_commit), ("raw", "", True))

    def test_a_broker_of_couriers_own_takes_the_place_of_redis(self) -> None:
        with override_settings(COURIER={"BROKER": "127.0.0.1:6380"}):
            self.assertEqual(get_settings().url, "redis://127.0.0.1:6380/0")

    def test_the_secret_is_made_from_the_key_and_is_another(self) -> None:
        with override_settings(SECRET_KEY="one" * 20, SECRET_KEY_FALLBACKS=["two" * 20]):
            settings = get_settings()
        self.assertEqual(len(settings.secret), 64)
        self.assertEqual(len(settings.secret_fallbacks), 1)
        self.assertNotIn("one", settings.secret)
        with override_settings(SECRET_KEY="two" * 20):
            self.assertEqual(get_settings().secret, settings.secret_fallbacks[0])

    def test_pages_of_the_project_may_read_the_streams(self) -> None:
        with override_settings(CSRF_TRUSTED_ORIGINS=["https://shop.example"]):
            self.assertEqual(
                get_settings().allowed_origins,
                ("https://shop.example", "http://127.0.0.1:8000", "http://localhost:8000"),
            )

    def test_a_password_is_not_shown(self) -> None:
        with override_settings(COURIER={"URL": "redis://me:secret@host:1/2"}):
            self.assertEqual(get_settings().safe_url, "redis://***@host:1/2")


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"PAYLOADS": 1}, "no key 'PAYLOADS'", "Did you mean 'PAYLOAD'?"),
        ({"XYZZY": 1}, "no key 'XYZZY'", "The keys are URL, "),
        ({"URL": "http://x"}, 'COURIER["URL"] is', "Write redis://"),
        ({"URL": 7}, "not a text", "in quotes"),
        ({"BROKER": "6380 please"}, "is '6380 please'", '"127.0.0.1:6380"'),
        ({"PREFIX": "a\n"}, "control character", '"shop."'),
        ({"PREFIX": "courier:"}, "reserved", '"shop."'),
        ({"PAYLOAD": "json"}, "is 'json'", '"envelope"'),
        ({"ON_COMMIT": "yes"}, "is 'yes'", "True or False"),
        ({"TIMEOUT": 0}, "is 0", "above 0"),
        ({"TIMEOUT": True}, "is True", "above 0"),
        ({"SECRET": "short"}, "5 characters", "SECRET_KEY"),
        ({"SECRET_FALLBACKS": "x" * 40}, "not a list", "brackets"),
        ({"CALLBACK_PATH": "x"}, "is 'x'", "slash"),
        ({"DJANGO_URL": "localhost:8000"}, "cannot reach", "http://host:port"),
        ({"DJANGO_URL": "http://a/b"}, "cannot reach", "without a path"),
        ({"GRANT_SECONDS": 0.5}, "is 0.5", "whole number"),
        ({"AUTHORIZE": "f"}, "is 'f'", "dotted path"),
        ({"EVENTS_URL": "events"}, "is 'events'", "/events"),
        ({"PUBLIC": "news.*"}, "not a list", "brackets"),
        ({"CHANNELS": [{"access": "public"}]}, "no channel matches", '"match"'),
        ({"OPTIONS": {"heartbeat": "1s"}}, "is {", "sse.heartbeat"),
        ([], "COURIER is not a dictionary", "COURIER = {"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(given: object, message: str, hint: str) -> None:
    with override_settings(COURIER=given):
        (problem,) = read_settings()[1]
        assert message in problem.message
        assert hint in problem.hint
        (error,) = (one for one in run_checks() if one.id == "courier_django.E001")
        assert (error.msg, error.hint) == (problem.message, problem.hint)
        with pytest.raises(ImproperlyConfigured) as raised:
            publish("a", 1)
        assert problem.message in str(raised.value)
        assert problem.hint in str(raised.value)


def test_the_readme_has_every_key() -> None:
    readme = (REPOSITORY / "django" / "README.md").read_text()
    for one in fields(Settings):
        assert f"`{one.name.upper()}`" in readme, one.name
