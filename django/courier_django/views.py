"""Views that are realtime resources as well: one URL, its REST endpoint, and who may listen to its channels.

A class::

    class RoomView(LoginRequiredMixin, RealtimeView):
        channel = "chat.{room}"

        def has_permission(self, request, channel):
            return Membership.objects.filter(user=request.user, room=self.kwargs["room"]).exists()

        def get(self, request, room): ...

A function::

    @login_required
    @realtime("chat.{room}", permission=is_member)
    def room(request, room): ...

courier's question comes as a GET with the cookies of who wants to listen, through the project's own middleware and
through everything around the view: what would turn a browser away turns courier away. Only the method itself is replaced.
With Django REST framework (``class RoomView(RealtimeMixin, APIView)``, or ``@realtime(..)`` above ``@api_view(..)``) that
includes authentication, permission classes and throttles.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.views import View

from courier_django.resources import Template, asked

logger = logging.getLogger("courier_django")

AnyView = TypeVar("AnyView", bound=Callable[..., Any])

#: ``permission(request, channel)``: whether this request's user may listen.
Permission = Callable[[Any, str], bool] | Callable[[Any, str], Awaitable[bool]]

if TYPE_CHECKING:
    _Base = View
else:
    _Base = object


class Verdict(HttpResponse):
    """What a view says to courier: which of the channels that it was asked about may be heard, and by whom."""

    def __init__(self, channels: Sequence[str], user: str) -> None:
        super().__init__(status=200 if channels else 403)
        # Whatever caches pages of the site, this is none.
        self.headers["Cache-Control"] = "private, no-store"
        self.courier_channels = tuple(channels)
        self.courier_user = user


class RealtimeMixin(_Base):
    """What makes a class-based view a realtime resource; :class:`RealtimeView` has it already."""

    courier_realtime = True

    #: The template of the channels' names, as in ``"chat.{room}"``; empty: the path of the URL.
    channel: str = ""

    def get_channels(self, request: HttpRequest) -> Sequence[str]:
        """The channels of this resource."""
        if not self.channel:
            return [request.path]
        name = Template(self.channel).format(request, self.kwargs)
        return [] if name is None else [name]

    def has_permission(self, request: HttpRequest, channel: str) -> bool | Awaitable[bool]:
        """Whether whoever asks may listen to the channel.

        Override it. With Django REST framework that is not needed: its permission classes have been asked by then.
        """
        return is_rest_view(type(self))

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if asked(request) is not None:
            # Where the view would run, so that all that stands around it has run by then, in whatever order it is inherited.
            handler = self._answer_later if getattr(type(self), "view_is_async", False) else self._answer
            self.get = self.head = handler
            self.http_method_names = ["get", "head"]
        return super().dispatch(request, *args, **kwargs)

    def _answer(self, request: Any, *_: Any, **__: Any) -> Any:
        return _now(self._verdict(request))

    async def _answer_later(self, request: Any, *_: Any, **__: Any) -> Any:
        # In a thread: who is logged in is often looked up only when someone asks.
        found = await sync_to_async(self._verdict)(request)
        return await found if inspect.isawaitable(found) else found

    def _verdict(self, request: Any) -> Any:
        return verdict(request, self.get_channels(request), self._permission)

    def _permission(self, request: Any, channel: str) -> Any:
        if is_djangos(permission_owner(type(self))):
            # PermissionRequiredMixin has a method of that name without arguments; its `dispatch` has called it.
            return True
        return self.has_permission(request, channel)


class RealtimeView(RealtimeMixin, View):
    """A class-based view that is a realtime resource."""


def realtime(channel: str = "", *, permission: Permission | None = None) -> Callable[[AnyView], AnyView]:
    """Makes a function view a realtime resource.

    ``channel`` is the template of its channels' names, as in ``"chat.{room}"``; without it the channel is the path.
    ``permission(request, channel)`` says who may listen; :func:`anyone` and :func:`logged_in` are there. Directly above the
    function, below ``login_required`` and the like; only above Django REST framework's ``api_view``.
    """
    if callable(channel):
        raise TypeError('@realtime takes arguments: write @realtime("chat.{room}", permission=..)')
    template = Template(channel) if channel else None

    def decorate(view: Any) -> Any:
        view_class = getattr(view, "cls", None) or getattr(view, "view_class", None)
        name = getattr(view, "__qualname__", repr(view))
        if isinstance(view_class, type):
            # Django REST framework itself has put one decorator, csrf_exempt, around its view.
            _not_around_others(name, getattr(view, "__wrapped__", view) if is_rest_view(view_class) else view)
            return _realtime_class(view, view_class, channel, permission)
        if permission is None:
            raise TypeError(
                f"@realtime of {name} does not say who may listen: give permission=logged_in, permission=anyone "
                "(both from courier_django) or a function of the request and the channel"
            )
        _not_around_others(name, view)
        return _realtime_function(view, template, permission)

    return decorate


def _not_around_others(name: str, view: Any) -> None:
    if hasattr(view, "__wrapped__"):
        raise TypeError(
            f"@realtime of {name} belongs directly above the function: the decorators below it would not be asked when "
            "courier wants to know who may listen"
        )


def anyone(request: Any, channel: str) -> bool:
    """A permission: everyone may listen."""
    return True


def logged_in(request: Any, channel: str) -> bool:
    """A permission: whoever is logged in may listen."""
    return bool(request.user.is_authenticated)


def verdict(request: Any, channels: Sequence[str], permission: Any) -> Any:
    """The answer of a resource that has these channels. An awaitable if the permission is one."""
    question = asked(request)
    assert question is not None, "only courier's questions are answered"
    of_resource = set(channels)
    if not of_resource.issuperset(question.channels):
        return Verdict([], "")
    results = [permission(request, channel) for channel in question.channels]
    pk = getattr(getattr(request, "user", None), "pk", None)
    user = "" if pk is None else str(pk)
    if any(inspect.isawaitable(result) for result in results):
        return _verdict_later(user, question.channels, results)
    return _verdict_of(user, question.channels, results)


def is_rest_view(view_class: type) -> bool:
    """Whether it is a view of Django REST framework, without an import of it."""
    return any(base.__module__ == "rest_framework.views" and base.__name__ == "APIView" for base in view_class.__mro__)


def permission_owner(view_class: type) -> type:
    """The class that ``has_permission`` of a view comes from."""
    return next(base for base in view_class.__mro__ if "has_permission" in vars(base))


def is_djangos(owner: type) -> bool:
    """Whether it is Django's ``PermissionRequiredMixin``, which cannot be imported before the apps are loaded."""
    return owner.__module__ == "django.contrib.auth.mixins"


def _verdict_of(user: str, channels: Sequence[str], results: Sequence[Any]) -> Verdict:
    for result in results:
        if result and result is not True:
            # An object by mistake lets nobody in.
            logger.warning("A permission answered %r: that lets nobody in, only True does.", result)
    granted = [channel for channel, result in zip(channels, results, strict=True) if result is True]
    return Verdict(granted, user)


async def _verdict_later(user: str, channels: Sequence[str], results: Sequence[Any]) -> Verdict:
    found = [await result if inspect.isawaitable(result) else result for result in results]
    return _verdict_of(user, channels, found)


def _now(found: Any) -> Any:
    return async_to_sync(_awaited)(found) if inspect.isawaitable(found) else found


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def _realtime_function(view: Any, template: Template | None, permission: Permission) -> Any:
    def answer(request: Any, arguments: dict[str, Any]) -> Any:
        name = template.format(request, arguments) if template else request.path
        return verdict(request, [] if name is None else [name], permission)

    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def later(request: Any, *args: Any, **kwargs: Any) -> Any:
            if asked(request) is None:
                return await view(request, *args, **kwargs)
            found = await sync_to_async(answer)(request, kwargs)
            return await found if inspect.isawaitable(found) else found

        wrapper: Any = later
    else:

        @functools.wraps(view)
        def at_once(request: Any, *args: Any, **kwargs: Any) -> Any:
            if asked(request) is None:
                return view(request, *args, **kwargs)
            return _now(answer(request, kwargs))

        wrapper = at_once
    wrapper.courier_channel = template.text if template else ""
    return wrapper


def _realtime_class(view: Any, view_class: type, channel: str, permission: Permission | None) -> Any:
    """A class-based view, such as ``api_view`` makes one of a function, with the mixin put in front."""
    members: dict[str, Any] = {"channel": channel, "__module__": view_class.__module__, "__doc__": view_class.__doc__}
    if permission is not None:
        members["has_permission"] = lambda self, request, name: permission(request, name)
    made: Any = type(view_class.__name__, (RealtimeMixin, view_class), members)
    init = getattr(view, "view_initkwargs", None) or getattr(view, "initkwargs", None) or {}
    names = ("__module__", "__name__", "__qualname__", "__doc__")
    return functools.update_wrapper(made.as_view(**init), view, assigned=names, updated=())
