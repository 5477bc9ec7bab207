"""`manage.py demo`: three people and two rooms, if they are not there yet."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from chat.models import Room

PASSWORD = "courier"  # noqa: S105 (of an example)


class Command(BaseCommand):
    help = "Makes the people and the rooms to try the chat with."

    def handle(self, *_: Any, **__: Any) -> None:
        people = []
        for name in ("anna", "ben", "cleo"):
            user, is_new = User.objects.get_or_create(username=name)
            if is_new:
                user.set_password(PASSWORD)
                user.save()
            people.append(user)
        Room.objects.get_or_create(slug="lobby", defaults={"title": "Lobby"})
        kitchen, _is_new = Room.objects.get_or_create(slug="kitchen", defaults={"title": "Kitchen", "is_private": True})
        kitchen.members.add(*people[:2])
        self.stdout.write(
            f"anna, ben and cleo can log in, each with the password {PASSWORD!r}; cleo is not let into the kitchen."
        )
