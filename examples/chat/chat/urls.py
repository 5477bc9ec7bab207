"""The pages. A room's URL is the page, what it is written to, and who may listen to it."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from chat import views

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("rooms/<slug:room>/", views.RoomView.as_view(), name="room"),
    path("notices/", views.NoticeView.as_view(), name="notices"),
]
