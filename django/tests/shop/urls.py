"""The URLs of the tests' project."""

from typing import Any

urlpatterns: list[Any] = []
