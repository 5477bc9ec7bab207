"""System checks: each mistake by its number, with a remedy; a project in order has none."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core.checks import CheckMessage, run_checks
from django.http import HttpRequest
from django.test import override_settings
from django.urls import include, path
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.views import APIView

from courier_django import RealtimeMixin, RealtimeView
from shop.settings import MIDDLEWARE

LINE = "courier_django.middleware.CourierMiddleware"


class Good(RealtimeView):
    channel = "good.{pk}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True


class Silent(RealtimeView):
    channel = "silent"


class Collision(PermissionRequiredMixin, Good):
    permission_required = "auth.view_user"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:  # type: ignore[override]
        return True


class Behind(Good, LoginRequiredMixin):
    pass


class Open(RealtimeMixin, APIView):
    channel = "open"
    permission_classes = [AllowAny]


class Guarded(RealtimeMixin, APIView):
    channel = "guarded"
    permission_classes = [IsAuthenticated]


def found(include_deployment: bool = False) -> list[CheckMessage]:
    messages = run_checks(include_deployment_checks=include_deployment)
    return [one for one in messages if str(one.id).startswith("courier_django.")]


@contextmanager
def urls(*patterns: Any) -> Iterator[None]:
    module = ModuleType("urls_of_a_test")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=module):
        yield


def only(identifier: str, message: str, hint: str, *, include_deployment: bool = False) -> None:
    (one,) = found(include_deployment)
    assert one.id == f"courier_django.{identifier}"
    assert message in one.msg
    assert hint in str(one.hint)


def test_a_project_in_order_has_no_mistakes() -> None:
    assert found() == []


@pytest.mark.parametrize("line", [MIDDLEWARE[1], *[one for one in MIDDLEWARE if "csrf" in one or "session" in one]])
def test_the_middleware_is_there_and_in_front(line: str) -> None:
    others = [one for one in MIDDLEWARE if one != LINE]
    with override_settings(MIDDLEWARE=others):
        only("E002", "nothing that answers courier's questions", "the first line of MIDDLEWARE")
    with override_settings(MIDDLEWARE=[line, LINE, *[one for one in others if one != line]]):
        only("E003", line, "the first line of MIDDLEWARE")
    with override_settings(MIDDLEWARE=others), urls():
        assert found() == []


@pytest.mark.parametrize(
    ("pattern", "identifier", "message", "hint"),
    [
        (path("a/", Silent.as_view()), "E004", "Silent does not say who may listen", "has_permission(self"),
        (path("a/<int:id>/", Good.as_view()), "E005", "{pk}, which the URL has not", "There are: id, user."),
        (path("<lang>/<pk>/", Good.as_view()), "W015", "does not tell 'lang'", "{lang} into the channel"),
        (path("n/", include(([path("<pk>/", Good.as_view())], "n"))), "E006", "has no name", "name=.."),
        (path("<pk>/", Collision.as_view()), "E007", "without arguments", "permission_required"),
        (path("<pk>/", Behind.as_view()), "W014", "LoginRequiredMixin behind View", "class Behind(LoginRequiredMixin"),
        (path("a/", Open.as_view()), "W012", "lets everyone listen", "permission_classes"),
    ],
)
def test_a_view_is_complete(pattern: Any, identifier: str, message: str, hint: str) -> None:
    with urls(pattern):
        only(identifier, message, hint)


def test_views_that_are_in_order() -> None:
    inner = ([path("<pk>/", Good.as_view(), {"lang": "de"}, name="good")], "n")
    with urls(path("a/", Guarded.as_view()), path("n/", include(inner))):
        assert found() == []


def test_two_views_of_one_channel() -> None:
    with urls(path("a/<pk>/", Good.as_view()), path("b/<pk>/", Good.as_view())):
        only("W011", "'a/<pk>/' and 'b/<pk>/' both have the channel 'good.{pk}'", "another channel")


@pytest.mark.parametrize(
    ("courier", "identifier", "message", "hint"),
    [
        ({"AUTHORIZE": "shop.access.nobody"}, "E008", "cannot be imported", "dotted path"),
        ({"AUTHORIZE": "shop.settings.SECRET_KEY"}, "E008", "cannot be called", "True or False"),
        ({"OPTIONS": {"sse.heartbeat": object()}}, "E009", "nothing that TOML has", "texts, numbers"),
        ({"URL": "rediss://redis.example:6380"}, "W010", "TLS", "redis.url"),
    ],
)
def test_the_settings_fit_together(courier: Any, identifier: str, message: str, hint: str) -> None:
    with override_settings(COURIER=courier):
        only(identifier, message, hint)


def test_a_deployment_does_not_send_browsers_to_their_own_machine() -> None:
    only("W013", "on their own machine", '"/events"', include_deployment=True)
    with override_settings(COURIER={"EVENTS_URL": "/events"}):
        assert found(include_deployment=True) == []
