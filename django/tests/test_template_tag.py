"""What a page gets."""

from django.contrib.auth.models import User
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory, SimpleTestCase, TestCase, override_settings

from courier_django import BadChannelError


def rendered(text: str, **context: object) -> str:
    return Template("{% load courier %}" + text).render(Context(context))


@override_settings(COURIER={"EVENTS_URL": "/events"})
class Tags(SimpleTestCase):
    def test_the_script_and_an_element_with_the_stream(self) -> None:
        self.assertHTMLEqual(
            rendered('{% courier_events "orders.7" %}'),
            '<script type="module" src="/static/courier_django/events.js"></script>'
            '<courier-events src="/events?channel=orders.7" hidden></courier-events>',
        )

    def test_every_option_is_an_attribute(self) -> None:
        html = rendered('{% courier_events a "b&c" history=20 resume=True share=False token="/token/" id="x" %}', a="ä")
        self.assertInHTML(
            '<courier-events src="/events?channel=%C3%A4&amp;channel=b%26c" history="20" token="/token/" id="x" share="no" '
            "resume hidden></courier-events>",
            html,
        )

    def test_another_origin_gets_the_cookies_too(self) -> None:
        with override_settings(COURIER={"EVENTS_URL": "https://events.example/events", "PREFIX": "shop."}):
            self.assertInHTML(
                '<courier-events src="https://events.example/events?channel=shop.a" prefix="shop." credentials hidden>'
                "</courier-events>",
                rendered('{% courier_events "a" %}'),
            )

    def test_the_address_alone(self) -> None:
        self.assertEqual(rendered('{% courier_url "a" "b" %}'), "/events?channel=a&amp;channel=b")

    def test_a_developers_courier_has_the_name_that_the_page_has(self) -> None:
        with override_settings(COURIER={"EVENTS_URL": "http://127.0.0.1:8080/events"}):
            for host, expected in [("localhost:8000", "localhost"), ("127.0.0.1:8000", "127.0.0.1"), ("shop", "127.0.0.1")]:
                request = RequestFactory().get("/", HTTP_HOST=host)
                self.assertEqual(rendered('{% courier_url "a" %}', request=request), f"http://{expected}:8080/events?channel=a")

    def test_a_nonce_of_the_content_security_policy_is_given_on(self) -> None:
        request = RequestFactory().get("/")
        request.csp_nonce = "n0nce"  # type: ignore[attr-defined]
        self.assertIn('events.js" nonce="n0nce">', rendered('{% courier_events "a" %}', request=request))

    def test_mistakes_are_told(self) -> None:
        with self.assertRaisesMessage(TemplateSyntaxError, "at least one channel"):
            rendered("{% courier_events %}")
        with self.assertRaises(BadChannelError):
            rendered('{% courier_events "" %}')


class Scopes(TestCase):
    def test_tabs_of_different_users_share_nothing(self) -> None:
        anna, ben = (User.objects.create_user(name) for name in ("anna", "ben"))
        pages = [rendered('{% courier_events "a" %}', user=user) for user in (anna, ben, anna)]
        self.assertIn('scope="', pages[0])
        self.assertNotEqual(pages[0], pages[1])
        self.assertEqual(pages[0], pages[2])
