"""Where courier's questions go about channels that no view has: to the function that ``COURIER["AUTHORIZE"]`` names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.urls import re_path
from django.utils.module_loading import import_string

from courier_django.conf import get_settings
from courier_django.resources import asked
from courier_django.views import Verdict, verdict


def authorize(request: HttpRequest) -> Verdict:
    """The view."""
    question = asked(request)
    assert question is not None, "only courier's questions come here"
    function: Callable[[Any, str], Any] = import_string(get_settings().authorize)

    def permission(request: Any, channel: str) -> Any:
        found = function(request, channel)
        return async_to_sync(_awaited)(found) if inspect.isawaitable(found) else found

    found: Verdict = verdict(request, question.channels, permission)
    return found


async def _awaited(found: Any) -> Any:
    return await found


authorize.courier_channel = ""  # type: ignore[attr-defined]

urlpatterns = [re_path("", authorize)]
