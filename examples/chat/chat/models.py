"""Rooms. Messages are not stored: courier's history has the last of them."""

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import models


class Room(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=80)
    is_private = models.BooleanField(default=False)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True)

    class Meta:
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title

    def lets_in(self, user: AbstractBaseUser | AnonymousUser) -> bool:
        """Whether this user may read and write here."""
        return user.is_authenticated and (not self.is_private or self.members.filter(pk=user.pk).exists())
