"""What the chat does: 60 lines."""

from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from chat.models import Room
from courier_django import RealtimeView, publish

TEXT_CHARACTERS_MAX = 500


@login_required
def rooms(request: HttpRequest) -> HttpResponse:
    visible = [room for room in Room.objects.all() if room.lets_in(request.user)]
    return render(request, "chat/rooms.html", {"rooms": visible})


class RoomView(LoginRequiredMixin, RealtimeView):
    """A room: GET is its page, POST says something in it, and whom it lets in may listen to its channel."""

    channel = "chat.{room}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return get_object_or_404(Room, slug=self.kwargs["room"]).lets_in(request.user)

    def get(self, request: HttpRequest, room: str) -> HttpResponse:
        channels = {"channel": f"chat.{room}", "notices": f"notices.{request.user.pk}"}
        return render(request, "chat/room.html", {"room": self.find(room), **channels})

    def post(self, request: HttpRequest, room: str) -> HttpResponse:
        self.find(room)
        publish(f"chat.{room}", said(request), event="message")
        return HttpResponse(status=204)

    def find(self, slug: str) -> Room:
        room = get_object_or_404(Room, slug=slug)
        if not room.lets_in(self.request.user):
            raise PermissionDenied
        return room


class NoticeView(LoginRequiredMixin, RealtimeView):
    """Private notices: everyone has a channel that only they can hear."""

    channel = "notices.{user}"

    def has_permission(self, request: HttpRequest, channel: str) -> bool:
        return True

    def post(self, request: HttpRequest) -> HttpResponse:
        to = get_object_or_404(User, username=request.POST.get("to", ""))
        publish(f"notices.{to.pk}", said(request), event="notice")
        return HttpResponse(status=204)


def said(request: HttpRequest) -> dict[str, object]:
    text = request.POST.get("text", "").strip()[:TEXT_CHARACTERS_MAX]
    return {"from": request.user.get_username(), "text": text, "at": timezone.now()}
