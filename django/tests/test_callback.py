"""courier's questions to Django, as they come on the wire: who is let in, and what an answer is."""

import json
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client, TestCase, override_settings

from courier_django.callback import sign
from courier_django.conf import get_settings
from shop import views
from shop.settings import MIDDLEWARE

URL = "/.courier/authorize"


def question(*channels: str, cookies: dict[str, str] | None = None, **more: Any) -> bytes:
    body = {"right": "subscribe", "channels": sorted(channels), "cookies": cookies or {}, "peer": "192.0.2.7", **more}
    return json.dumps(body).encode()


class Asking(TestCase):
    """As courier does: a POST of another host, with the client's cookies in the signed body."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.anna = User.objects.create_user("anna", password="x")
        cls.staff = User.objects.create_user("staff", password="x", is_staff=True)
        cls.staff.user_permissions.add(Permission.objects.get(codename="view_user"))

    def setUp(self) -> None:
        cache.clear()
        views.ran.clear()
        # The checks of CSRF are in force, as for any client from outside.
        self.client = Client(enforce_csrf_checks=True)

    def cookies(self, user: User | None) -> dict[str, str]:
        if user is None:
            return {}
        browser = Client()
        browser.force_login(user)
        return {name: morsel.value for name, morsel in browser.cookies.items()}

    def ask(self, *channels: str, user: User | None = None, signature: str | None = None, **more: Any) -> Any:
        body = question(*channels, cookies=self.cookies(user), **more)
        return self.post(body, signature)

    def post(self, body: bytes, signature: str | None = None, **headers: str) -> Any:
        if signature is None:
            signature = sign(get_settings().secret, body, time.time())
        return self.client.post(URL, body, content_type="application/json", HTTP_X_COURIER_SIGNATURE=signature, **headers)

    def assert_granted(self, *channels: str, user: User | None = None, **more: Any) -> None:
        response = self.ask(*channels, user=user, **more)
        self.assertEqual(response.status_code, 200, response.content)
        answer = response.json()
        self.assertEqual(answer["channels"], sorted(channels))
        self.assertEqual(answer.get("user"), str(user.pk) if user else None)
        self.assertAlmostEqual(answer["expires"], time.time() + 300, delta=20)

    def assert_refused(self, *channels: str, user: User | None = None, status: int = 403, reason: str = "") -> None:
        response = self.ask(*channels, user=user)
        self.assertEqual(response.status_code, status, response.content)
        self.assertIn(reason, response.json()["detail"])


class Views(Asking):
    def test_a_class_is_asked_by_its_template_and_decides_about_each_channel(self) -> None:
        self.assert_granted("chat.main")
        self.assert_granted("chat.main", "chat.other", user=self.anna)
        self.assert_refused("chat.secret", user=self.anna, reason="does not let this user listen to 'chat.secret'")
        self.assert_refused("chat.main", "chat.secret", user=self.anna)
        self.assert_granted("chat.secret", user=self.staff)

    def test_a_channel_of_a_user_is_theirs_alone(self) -> None:
        self.assert_granted(f"notices.{self.anna.pk}", user=self.anna)
        self.assert_refused(f"notices.{self.anna.pk}", user=self.staff)
        self.assert_refused(f"notices.{self.anna.pk}")
        self.assert_refused("notices.None")

    def test_the_path_is_the_channel_of_a_view_without_a_template(self) -> None:
        self.assert_granted("/members/", user=self.anna)
        self.assert_refused("/members/", reason="redirects to /accounts/login/?next=/members/")
        self.assert_granted("/ünicode/", user=self.anna)
        self.assert_refused("/members", user=self.anna, reason="redirects to /members/")
        # It has a template, so its path is no channel of its.
        self.assert_refused("/rooms/main/")

    def test_what_stands_around_a_view_turns_away_here_too_in_whatever_order(self) -> None:
        self.assert_refused("members-late", reason="redirects")
        self.assert_granted("members-late", user=self.anna)
        self.assert_refused("decorated", reason="redirects")
        self.assert_granted("decorated", user=self.anna)
        self.assert_refused("staff", user=self.anna, reason="403")
        self.assert_granted("staff", user=self.staff)
        self.assert_refused("/permitted/", user=self.staff)
        self.assert_refused("permitted", user=self.anna, reason="403")
        self.assert_granted("permitted", user=self.staff)

    def test_functions(self) -> None:
        self.assert_granted("news")
        self.assert_refused("ticker.ACME", reason="redirects")
        self.assert_granted("ticker.ACME", user=self.anna)
        self.assert_refused("ticker.A/B", user=self.anna)
        self.assert_refused("later-class")
        self.assert_granted("later-class", user=self.anna)
        self.assert_refused("later")
        self.assert_granted("later", user=self.anna)

    def test_urls_in_a_namespace(self) -> None:
        self.assert_granted("orders.7", user=self.anna)
        self.assert_refused("orders.8", user=self.anna)
        self.assert_refused("orders.x", user=self.anna, reason="No view has the channel")
        self.assert_granted("stock.shoe", user=self.anna)

    def test_arguments_have_the_form_that_the_url_gives_them(self) -> None:
        self.assert_granted("days.a.2026-01-02")
        self.assert_refused("days.b.2026-01-02", reason="does not let this user")
        for name in ["days.a.2026-13-45", "days.a.b.2026-01-02", "days.a.today"]:
            self.assert_refused(name, reason="No view has the channel")

    def test_several_channels_of_one_view(self) -> None:
        self.assert_granted("many.a")
        self.assert_refused("many.a", "many.b")
        self.assert_refused("many.c")

    def test_django_rest_framework_decides_by_its_own_classes(self) -> None:
        self.assert_granted("drf", user=self.anna)
        # Its first authentication class has no challenge, so its own answer is 403.
        self.assert_refused("drf")
        self.assert_refused("drf-function", user=self.anna)
        self.assert_granted("drf-function", user=self.staff)

    def test_a_login_in_a_header_counts_where_the_view_takes_one(self) -> None:
        # anna:x
        self.assertEqual(self.ask("drf", headers={"authorization": "Basic YW5uYTp4"}).json()["user"], str(self.anna.pk))

    def test_too_often_is_no_refusal_for_good(self) -> None:
        self.assert_granted("drf-throttled", user=self.anna)
        self.assert_refused("drf-throttled", user=self.anna, status=503, reason="429")

    def test_the_log_says_why_and_only_once(self) -> None:
        with self.assertLogs("courier_django", "WARNING") as logs, self.assertNoLogs("django.request", "WARNING"):
            self.assert_refused("/members/")
        self.assertIn("listen to /members/: The view at /members/ redirects to /accounts/login/", logs.output[0])

    def test_an_error_of_the_project_is_no_refusal(self) -> None:
        self.client.raise_request_exception = False
        self.assert_refused("broken", status=503, reason="500")

    def test_only_true_lets_in(self) -> None:
        with self.assertLogs("courier_django", "WARNING") as logs:
            self.assert_refused("almost")
        self.assertIn("'yes'", logs.output[0])

    def test_the_views_see_the_clients_own_session_and_address(self) -> None:
        browser = Client()
        browser.force_login(self.anna)
        session = browser.session
        session["may listen"] = True
        session.save()
        cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
        for peer, status in [("192.0.2.7", 200), ("192.0.2.8", 403)]:
            self.assertEqual(self.post(question("session", cookies=cookies, peer=peer)).status_code, status)

    def test_a_cache_of_the_whole_site_keeps_pages_and_questions_apart(self) -> None:
        caching = [
            "courier_django.middleware.CourierMiddleware",
            "django.middleware.cache.UpdateCacheMiddleware",
            *[line for line in MIDDLEWARE if "courier" not in line],
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
        with override_settings(MIDDLEWARE=caching):
            for _ in range(2):
                self.assert_granted("/bulletin/")
                self.assertEqual(self.client.get("/bulletin/").content, b"bulletin")
                self.assert_refused("chat.secret", user=self.anna)
                self.assert_granted("chat.secret", user=self.staff)

    def test_the_other_end_of_a_unix_socket_has_no_address(self) -> None:
        self.assertEqual(self.post(question("news", peer="unix")).status_code, 200)

    def test_a_view_that_is_no_resource_is_not_run(self) -> None:
        self.assert_refused("/plain/", user=self.anna, reason="No view has the channel")
        self.assertEqual(views.ran, [])
        self.client.get("/plain/")
        self.assertEqual(views.ran, ["GET"])

    def test_the_same_urls_are_plain_views_for_everybody_else(self) -> None:
        for path, status, content in [
            ("/rooms/main/", 200, b'{"room": "main"}'),
            ("/members/", 302, b""),
            ("/news/", 200, b"news"),
            ("/later/", 200, b"later"),
            ("/later-class/", 200, b"later"),
            ("/drf/", 403, None),
        ]:
            response = self.client.get(path, HTTP_ACCEPT="application/json")
            self.assertEqual(response.status_code, status, path)
            if content is not None:
                self.assertEqual(response.content, content)
        self.client.force_login(self.staff)
        self.assertEqual(self.client.get("/drf-function/").json(), {"function": "GET"})
        # Nobody outside can say that they are courier.
        self.assertEqual(self.client.post("/rooms/main/", HTTP_X_COURIER_SIGNATURE="t=1,v1=x").status_code, 403)


class Authorize(Asking):
    def test_a_function_decides_where_no_view_does(self) -> None:
        with override_settings(COURIER={"AUTHORIZE": "shop.access.may_listen"}):
            self.assert_granted("free")
            self.assert_granted("mine", user=self.anna)
            self.assert_refused("mine")
            self.assert_refused("other", reason="COURIER['AUTHORIZE']")
            # A view has this one, and has said no.
            self.assert_refused("chat.secret", user=self.anna)
        with override_settings(COURIER={"AUTHORIZE": "shop.access.may_listen_later"}):
            self.assert_granted("free")
            self.assert_refused("other")
        self.assert_refused("free", reason="COURIER['AUTHORIZE'] is not set")

    def test_names_come_without_the_prefix(self) -> None:
        with override_settings(COURIER={"PREFIX": "shop.", "AUTHORIZE": "shop.access.may_listen"}):
            self.assert_granted("shop.free")
            self.assert_granted("shop.chat.main")
            self.assert_refused("free", reason="prefix")


class OnTheWire(Asking):
    def test_what_is_not_signed_is_no_question_and_no_refusal_either(self) -> None:
        body = question("news")
        now, secret = time.time(), get_settings().secret
        for signature, reason in [
            ("", "not signed"),
            ("t=1", "not signed"),
            ("v1=ab", "not signed"),
            (f"t={int(now)},t={int(now)},v1=ab", "not signed"),
            (f"t=-{int(now)},v1=ab", "not signed"),
            (f"t={int(now)},v1=ab", "another secret"),
            (sign("x" * 40, body, now), "another secret"),
            (sign(secret, body + b" ", now), "another secret"),
            (sign(secret, body, now - 600), "clocks"),
            (sign(secret, body, now + 600), "clocks"),
        ]:
            with self.subTest(signature), self.assertLogs("courier_django", "WARNING"):
                response = self.post(body, signature)
                self.assertEqual(response.status_code, 400)
                self.assertIn(reason, response.json()["detail"])

    def test_a_secret_can_be_replaced(self) -> None:
        body = question("news")
        signature = sign("old" * 20, body, time.time())
        with override_settings(COURIER={"SECRET": "new" * 20, "SECRET_FALLBACKS": ["old" * 20]}):
            self.assertEqual(self.post(body, signature).status_code, 200)
            self.assertEqual(self.post(body).status_code, 200)
        self.assertEqual(self.post(body, f"{signature},v1=abc").status_code, 400)

    def test_a_question_that_is_none_says_so(self) -> None:
        for body, reason in [
            (b"x", "no JSON"),
            (b"[]", "no JSON object"),
            (b"{}", "channels"),
            (b'{"channels": []}', "channels"),
            (b'{"channels": [7]}', "no text"),
            (json.dumps({"channels": ["news"] * 65}).encode(), "channels"),
        ]:
            with self.subTest(body), self.assertLogs("courier_django", "WARNING"):
                response = self.post(body)
                self.assertEqual(response.status_code, 400)
                self.assertIn(reason, response.json()["detail"])
        self.assertEqual(self.client.get(URL).status_code, 405)
        self.assertEqual(self.ask("news", right="publish").status_code, 403)

    def test_the_cookies_that_count_are_those_that_are_signed(self) -> None:
        self.client.force_login(self.anna)
        self.assertEqual(self.post(question("/members/")).status_code, 403)

    def test_the_other_end_of_courier_may_have_any_name(self) -> None:
        with override_settings(ALLOWED_HOSTS=["shop.example", ".shop.example"]):
            self.assertEqual(self.post(question("news"), HTTP_HOST="10.0.0.7:8000").status_code, 200)
        with override_settings(ALLOWED_HOSTS=[".shop.example"], SECURE_SSL_REDIRECT=True):
            self.assertEqual(self.post(question("news"), HTTP_HOST="10.0.0.7:8000").status_code, 200)

    def test_a_server_with_a_mistake_in_its_settings_does_not_start(self) -> None:
        with override_settings(COURIER={"PAYLOADS": "raw"}), self.assertRaisesMessage(ImproperlyConfigured, "'PAYLOAD'?"):
            Client().get("/news/")
        without = {"INSTALLED_APPS": {"remove": ["courier_django"]}}
        with self.modify_settings(**without), self.assertRaisesMessage(ImproperlyConfigured, 'add "courier_django" to'):
            Client().get("/news/")

    def test_the_path_can_be_another(self) -> None:
        with override_settings(COURIER={"CALLBACK_PATH": "/internal/courier"}):
            body = question("news")
            signature = sign(get_settings().secret, body, time.time())
            answer = self.client.post(
                "/internal/courier", body, content_type="application/json", HTTP_X_COURIER_SIGNATURE=signature
            )
            self.assertEqual(answer.status_code, 200)
            self.assertEqual(self.client.get(URL).status_code, 404)

    def test_under_asgi_as_well(self) -> None:
        cookies = self.cookies(self.anna)

        async def ask(*channels: str, cookies: dict[str, str] | None = None) -> int:
            body = question(*channels, cookies=cookies)
            signature = sign(get_settings().secret, body, time.time())
            response = await AsyncClient().post(
                URL, body, content_type="application/json", **{"X-Courier-Signature": signature}
            )
            return int(response.status_code)

        async def main() -> list[int]:
            return [
                await ask("news", "chat.main"),
                await ask("/members/"),
                await ask("/members/", cookies=cookies),
                await ask("later", cookies=cookies),
                await ask("later-class"),
                await ask("later-class", cookies=cookies),
                await ask("chat.secret", cookies=cookies),
                await ask("/plain/"),
            ]

        self.assertEqual(async_to_sync(main)(), [200, 403, 200, 200, 403, 200, 403, 403])
        self.assertEqual(views.ran, [])


def test_a_decorator_that_would_not_be_asked_is_told_at_import() -> None:
    from django.contrib.auth.decorators import login_required

    from courier_django import anyone, realtime

    with pytest.raises(TypeError, match="directly above the function"):
        realtime("x", permission=anyone)(login_required(views.bare))
    with pytest.raises(TypeError, match="directly above the function"):
        realtime("x", permission=anyone)(login_required(views.NewsView.as_view()))
    with pytest.raises(TypeError, match="directly above the function"):
        realtime("x", permission=anyone)(login_required(views.RestView.as_view()))
    with pytest.raises(TypeError, match="does not say who may listen"):
        realtime("x")(views.bare)
    with pytest.raises(TypeError, match="takes arguments"):
        realtime(views.bare)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="plain name"):
        realtime("x.{a.b}", permission=anyone)
