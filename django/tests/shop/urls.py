"""The URLs of the tests' project: realtime resources of every kind, and views that are none."""

from datetime import date

from django.contrib.auth.decorators import login_required, permission_required
from django.urls import include, path, re_path, register_converter

from courier_django import logged_in, realtime

from . import views


class DayConverter:
    regex = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(value)

    def to_url(self, value: date) -> str:
        return value.isoformat()


register_converter(DayConverter, "day")
may_view = permission_required("auth.view_user", raise_exception=True)

api = (
    [
        path("orders/<int:pk>/", views.OrderView.as_view(), name="order"),
        path("stock/<slug:item>/", views.stock, name="stock"),
    ],
    "api",
)

urlpatterns = [
    path("rooms/<slug:room>/", views.RoomView.as_view()),
    path("notices/", views.NoticeView.as_view(), name="notices"),
    path("members/", views.MembersView.as_view()),
    path("members-late/", views.MembersLateView.as_view()),
    path("staff/", views.StaffView.as_view()),
    path("decorated/", login_required(views.RoomView.as_view(channel="decorated"))),
    path("ticker/<str:symbol>/", views.ticker),
    path("days/<slug:room>/<day:day>/", views.DayView.as_view()),
    path("news/", views.news),
    path("bulletin/", views.bulletin),
    path("later/", views.later),
    path("later-class/", views.LaterView.as_view()),
    path("many/", views.ManyView.as_view()),
    path("broken/", views.BrokenView.as_view()),
    path("almost/", views.AlmostView.as_view()),
    path(
        "permitted/", permission_required("auth.view_user", raise_exception=True)(views.NewsView.as_view(channel="permitted"))
    ),
    path("plain/", views.plain),
    path("drf/", views.RestView.as_view()),
    path("drf-function/", views.rest_function),
    path("drf-throttled/", views.ThrottledView.as_view()),
    path("session/", views.SessionView.as_view()),
    re_path(r"^ünicode/$", realtime(permission=logged_in)(views.bare)),
    path("api/", include(api)),
    path("page/", views.page),
]
