"""Views of the tests' project."""

from datetime import date
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import View
from django.views.decorators.cache import cache_page
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from courier_django import RealtimeMixin, RealtimeView, anyone, logged_in, realtime

ran: list[str] = []


class RoomView(RealtimeView):
    channel = "chat.{room}"

    def get(self, request: HttpRequest, room: str = "") -> JsonResponse:
        return JsonResponse({"room": room})

    def post(self, request: HttpRequest, room: str = "") -> JsonResponse:
        return JsonResponse({"posted": room})

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return self.kwargs.get("room") != "secret" or request.user.is_staff


class NoticeView(RealtimeView):
    channel = "notices.{user}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True


class MembersView(LoginRequiredMixin, RealtimeView):
    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("members")


class MembersLateView(RealtimeMixin, LoginRequiredMixin, View):
    """The mixin stands behind, where one might think that it is not asked."""

    channel = "members-late"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True


class StaffView(PermissionRequiredMixin, RealtimeView):
    channel = "staff"
    permission_required = "auth.view_user"


class NewsView(RealtimeView):
    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True


class ManyView(RealtimeView):
    channel = "many.{user}"

    def get_channels(self, request: HttpRequest) -> list[str]:
        return ["many.a", "many.b"]

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        if channel == "many.b":
            raise PermissionDenied
        return True


class BrokenView(RealtimeView):
    channel = "broken"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        raise RuntimeError("a mistake of the project")


class AlmostView(RealtimeView):
    channel = "almost"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return "yes"  # type: ignore[return-value]


class SessionView(RealtimeView):
    channel = "session"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return request.session.get("may listen") is True and request.META["REMOTE_ADDR"] == "192.0.2.7"


class LaterView(RealtimeView):
    channel = "later-class"

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("later")

    async def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return bool(await sync_to_async(lambda: request.user.is_authenticated)())


class DayView(RealtimeView):
    channel = "days.{room}.{day}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return isinstance(self.kwargs["day"], date) and self.kwargs["room"] == "a"


class OrderView(RealtimeView):
    channel = "orders.{pk}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return bool(request.user.is_authenticated and self.kwargs["pk"] == 7)


@login_required
@realtime("ticker.{symbol}", permission=anyone)
def ticker(request: HttpRequest, symbol: str) -> HttpResponse:
    return HttpResponse(symbol)


@realtime("news", permission=anyone)
def news(request: HttpRequest) -> HttpResponse:
    return HttpResponse("news")


@cache_page(60)
@realtime(permission=anyone)
def bulletin(request: HttpRequest) -> HttpResponse:
    return HttpResponse("bulletin")


@realtime("stock.{item}", permission=logged_in)
def stock(request: HttpRequest, item: str) -> HttpResponse:
    return HttpResponse(item)


@realtime("later", permission=logged_in)
async def later(request: HttpRequest) -> HttpResponse:
    return HttpResponse("later")


def bare(request: HttpRequest) -> HttpResponse:
    return HttpResponse("bare")


def plain(request: HttpRequest) -> HttpResponse:
    ran.append(request.method or "")
    return HttpResponse("plain")


class RestView(RealtimeMixin, APIView):
    channel = "drf"
    authentication_classes = [SessionAuthentication, BasicAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: Any) -> Response:
        return Response({"drf": True})


@realtime("drf-function")
@api_view(["GET", "POST"])
@authentication_classes([SessionAuthentication])
@permission_classes([IsAdminUser])
def rest_function(request: Any) -> Response:
    return Response({"function": request.method})


class OnceAnHour(UserRateThrottle):
    rate = "1/hour"


class ThrottledView(RealtimeMixin, APIView):
    channel = "drf-throttled"
    permission_classes = [IsAuthenticated]
    throttle_classes = [OnceAnHour]


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/page.html")
