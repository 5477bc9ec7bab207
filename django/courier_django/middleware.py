"""One line of ``MIDDLEWARE``, the first::

    MIDDLEWARE = ["courier_django.middleware.CourierMiddleware", ...]

It answers courier's questions at ``COURIER["CALLBACK_PATH"]``. Each becomes a GET of the resource that has the channel, with
the cookies of who wants to listen, and takes the way of every request: the rest of the middleware with its sessions and
users, the decorators, the view. It stands in front of all that could turn away or redirect a POST without a token.

What is no grant is a refusal: a redirect to a login page and a page that is not found are 403 like a permission that is
denied, and a 500 is no answer at all.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from ipaddress import ip_address
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.request import split_domain_port, validate_host

from courier_django import callback
from courier_django.callback import BadQuestionError, Question
from courier_django.conf import Settings, get_settings
from courier_django.resources import Asked, asked, is_realtime, paths
from courier_django.views import Verdict

logger = logging.getLogger("courier_django")

#: A conversation with the project: requests go out, its responses come in.
Conversation = Generator[HttpRequest, HttpResponseBase, Any]

#: What a view answers that has no time.
_NOT_NOW = frozenset({408, 425, 429})
#: Of a Django that runs without DEBUG and names no host for its pages.
_ANY_HOST = "localhost"


class CourierMiddleware:
    """Answers courier, and lets everybody else pass."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        if not apps.is_installed("courier_django"):
            raise ImproperlyConfigured('courier\'s middleware belongs to an app: add "courier_django" to INSTALLED_APPS.')
        # A mistake in the settings ends the start of the server, and not the first request.
        get_settings()
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        # Under ASGI a plain function would be run in a thread, for every request.
        self.process_view = self._aprocess_view if self.is_async else self._process_view
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._acall(request)
        if request.path_info != get_settings().callback_path:
            return self._passed(request)
        conversation = _answer(request)
        try:
            inner = next(conversation)
            while True:
                inner = conversation.send(self._passed(inner))
        except StopIteration as end:
            response: HttpResponseBase = end.value
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase
        if request.path_info != get_settings().callback_path:
            response = await self.get_response(request)
            return response
        conversation = _answer(request)
        try:
            inner = next(conversation)
            while True:
                inner = conversation.send(await self.get_response(inner))
        except StopIteration as end:
            response = end.value
            return response

    def _passed(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = self.get_response(request)
        return response

    def _process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> HttpResponse | None:
        """No other view is run by a question, whatever the channel's name is."""
        return NoResource() if asked(request) is not None and not is_realtime(view) else None

    async def _aprocess_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        return self._process_view(request, view, args, kwargs)


class NoResource(HttpResponse):
    """At this path is no realtime resource."""

    status_code = 404


class _Refused(Exception):  # noqa: N818 (an outcome, no error)
    """The client is refused: 401 or 403. Or, with 503, told to come back later."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _answer(request: HttpRequest) -> Conversation:
    """What courier is answered."""
    settings = get_settings()
    if request.method != "POST":
        return JsonResponse({"detail": "Only courier asks here, by POST."}, status=405, headers={"Allow": "POST"})
    try:
        body = request.body
        callback.verify(settings, request.META.get(callback.SIGNATURE, ""), body, time.time())
        question = callback.read(body)
    except BadQuestionError as error:
        logger.warning("courier's question is not answered: %s", error)
        return _said(JsonResponse({"detail": str(error)}, status=400))
    user = ""
    try:
        if question.right != "subscribe":
            raise _Refused(403, "Django is asked who may listen only.")
        for channel in question.channels:
            verdict = yield from _decide(request, settings, question, channel)
            user = user or verdict.courier_user
    except _Refused as refused:
        logger.warning("courier is not to let a client listen to %s: %s", ", ".join(question.channels), refused)
        return _said(JsonResponse({"detail": str(refused)}, status=refused.status))
    return JsonResponse(callback.grant(question.channels, user, time.time() + settings.grant_seconds))


def _said(response: HttpResponse) -> HttpResponse:
    """Has been logged with its reason, which Django would not know."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _decide(request: HttpRequest, settings: Settings, question: Question, name: str) -> Conversation:
    """Asks the project about one channel, first at the views that may have it."""
    if not name.startswith(settings.prefix):
        raise _Refused(403, f"{name!r} does not begin with the prefix {settings.prefix!r}.")
    channel = name.removeprefix(settings.prefix)
    refusal: _Refused | None = None
    for path in paths(channel):
        response = yield _inner(request, question, path, channel)
        if isinstance(response, Verdict) and channel in response.courier_channels:
            return response
        found = _refusal(response, path, channel)
        if found is not None and found.status == 503:
            raise found
        # One that is told to log in can do something about it.
        if found is not None and (refusal is None or found.status == 401):
            refusal = found
    if refusal is not None:
        raise refusal
    if not settings.authorize:
        raise _Refused(403, f"No view has the channel {channel!r}, and COURIER['AUTHORIZE'] is not set.")
    inner = _inner(request, question, "/", channel)
    inner.urlconf = "courier_django.authorize"
    response = yield inner
    if isinstance(response, Verdict) and channel in response.courier_channels:
        return response
    raise _refusal(response, "COURIER['AUTHORIZE']", channel) or _Refused(
        403, "Another middleware sets request.urlconf, so COURIER['AUTHORIZE'] is not reached."
    )


def _refusal(response: HttpResponseBase, where: str, channel: str) -> _Refused | None:
    """What a response means that is no grant; none if nobody has said anything about the channel there."""
    status = response.status_code
    if isinstance(response, NoResource) or (status == 404 and not isinstance(response, Verdict)):
        return None
    if isinstance(response, Verdict):
        return _Refused(403, f"The view at {where} does not let this user listen to {channel!r}.")
    if status >= 500 or status in _NOT_NOW:
        return _Refused(503, f"The view at {where} answered {status}.")
    if status == 401:
        return _Refused(401, f"The view at {where} wants a login.")
    if 300 <= status < 400:
        return _Refused(403, f"The view at {where} redirects to {response.get('Location', '')}.")
    return _Refused(403, f"The view at {where} answered {status}.")


def _inner(request: HttpRequest, question: Question, path: str, channel: str) -> WSGIRequest:
    """The request of who wants to listen, as if they had asked for the resource."""
    scheme = "https" if django_settings.SECURE_SSL_REDIRECT or request.is_secure() else "http"
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": request.META.get("SCRIPT_NAME", ""),
        # As WSGI has it: the bytes of a path, one character each.
        "PATH_INFO": path.encode().decode("latin-1"),
        # Another URL than that of the page, to a cache of the whole site.
        "QUERY_STRING": "courier",
        "SERVER_NAME": request.META.get("SERVER_NAME", _ANY_HOST),
        "SERVER_PORT": request.META.get("SERVER_PORT", "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": _address(question.peer) or request.META.get("REMOTE_ADDR", ""),
        "HTTP_HOST": _host(request),
        "HTTP_ACCEPT": "*/*",
        "HTTP_COOKIE": _cookie_header(question),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if django_settings.SECURE_PROXY_SSL_HEADER and scheme == "https":
        header, value = django_settings.SECURE_PROXY_SSL_HEADER
        environ[header] = value
    for name, value in question.headers.items():
        key = "HTTP_" + name.upper().replace("-", "_")
        # What is about the exchange itself stays ours.
        if key not in environ:
            environ[key] = value
    inner = WSGIRequest(environ)
    inner.courier = Asked((channel,))  # type: ignore[attr-defined]
    return inner


def _address(peer: str) -> str:
    """Behind a Unix socket there is none."""
    try:
        return str(ip_address(peer))
    except ValueError:
        return ""


def _cookie_header(question: Question) -> str:
    return "; ".join(f"{name}={value}" for name, value in question.cookies.items())


def _host(request: HttpRequest) -> str:
    """One that the project answers to: courier has reached it by another name than browsers do."""
    host = str(request.META.get("HTTP_HOST", ""))
    allowed = list(django_settings.ALLOWED_HOSTS)
    if not allowed and django_settings.DEBUG:
        return _ANY_HOST
    if host and validate_host(split_domain_port(host)[0], allowed):
        return host
    named = [one for one in allowed if one != "*"]
    return named[0].removeprefix(".") if named else host or _ANY_HOST
