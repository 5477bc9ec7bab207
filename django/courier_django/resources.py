"""Realtime resources: views that also say who may listen to which channels.

A resource has a template of its channels' names, such as ``"chat.{room}"``: what stands in braces is an argument of its URL,
or ``{user}``, the primary key of whoever asks. Without a template the channel is the path of the URL.

Here is found which view a channel belongs to. That only decides who is asked: whether the channel is one of the view's is
said by the view itself (``get_channels``), and who may listen as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, get_script_prefix, reverse

#: The placeholder that is no argument of the URL.
USER = "user"
#: Deeper than any project includes URLs in each other.
_DEPTH_MAX = 32


@dataclass(frozen=True)
class Asked:
    """What is on a request that carries courier's question instead of a browser's request."""

    #: Names without the prefix, as the project knows them.
    channels: tuple[str, ...]


def asked(request: Any) -> Asked | None:
    """courier's question, if the request carries one. Requests of Django REST framework are seen through."""
    found = getattr(request, "courier", None)
    return found if isinstance(found, Asked) else None


class Template:
    """The names of a resource's channels."""

    def __init__(self, text: str) -> None:
        self.text = text
        #: The names in braces, in order.
        self.names: list[str] = []
        pattern = ""
        for literal, name, spec, conversion in Formatter().parse(text):
            pattern += re.escape(literal)
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}} in the channel {text!r} is no plain name; write it as in 'chat.{{room}}'")
            pattern += f"(?P={name})" if name in self.names else f"(?P<{name}>.+)"
            self.names.append(name)
        self._pattern = re.compile(pattern, re.DOTALL)

    @property
    def arguments(self) -> list[str]:
        """The names that are arguments of the URL."""
        return [name for name in self.names if name != USER]

    def format(self, request: HttpRequest, arguments: dict[str, Any]) -> str | None:
        """The channel of this request; none for who is not logged in, if it takes a user."""
        values = dict(arguments)
        if USER in self.names and USER not in values:
            user = getattr(request, "user", None)
            if user is None or not user.is_authenticated:
                return None
            values[USER] = user.pk
        return self.text.format(**values)

    def match(self, channel: str) -> dict[str, str] | None:
        """The arguments of the URL that would have this channel."""
        found = self._pattern.fullmatch(channel)
        return found and {name: value for name, value in found.groupdict().items() if name in self.arguments}


@dataclass(frozen=True)
class Resource:
    """A URL of the project whose view is a realtime resource."""

    #: None: the channel is the path.
    template: Template | None
    callback: Callable[..., Any]
    #: What `reverse` takes; none if the URL is in a namespace and has no name.
    name: str | Callable[..., Any] | None
    #: As in the URLconf.
    route: str
    #: The names of the URL's arguments.
    arguments: frozenset[str]
    #: The class of a class-based view.
    view_class: type | None

    def path_of(self, channel: str) -> str | None:
        """The path at which the view would have this channel."""
        found = self.template.match(channel) if self.template and self.name else None
        if found is None or self.name is None:
            return None
        try:
            return reverse(self.name, kwargs=found)
        except NoReverseMatch:
            return None


def paths(channel: str) -> Iterator[str]:
    """Where a view may have this channel, behind the script's own path; the likeliest first."""
    prefix = get_script_prefix()
    if channel.startswith(prefix):
        yield "/" + channel[len(prefix) :]
    for resource in resources():
        path = resource.path_of(channel)
        if path is not None:
            yield "/" + path[len(prefix) :] if path.startswith(prefix) else path


def resources() -> list[Resource]:
    """All of the project's."""
    return _resources(get_resolver())


@lru_cache(maxsize=8)
def _resources(resolver: URLResolver) -> list[Resource]:
    return list(_walk(resolver, (), "", frozenset(), 0))


def _walk(
    resolver: URLResolver, namespaces: tuple[str, ...], route: str, arguments: frozenset[str], depth: int
) -> Iterator[Resource]:
    if depth > _DEPTH_MAX:
        return
    for entry in resolver.url_patterns:
        inner_route = route + str(entry.pattern)
        inner_arguments = arguments | _arguments(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = (*namespaces, entry.namespace) if entry.namespace else namespaces
            yield from _walk(entry, inner, inner_route, inner_arguments, depth + 1)
        elif isinstance(entry, URLPattern) and is_realtime(entry.callback):
            yield _resource(entry, namespaces, inner_route, inner_arguments)


def _resource(entry: URLPattern, namespaces: tuple[str, ...], route: str, arguments: frozenset[str]) -> Resource:
    callback = entry.callback
    name: str | Callable[..., Any] | None = None if namespaces else callback
    if entry.name:
        name = ":".join((*namespaces, entry.name))
    view_class = _view_class(callback)
    if view_class:
        text = str(_init(callback).get("channel") or getattr(view_class, "channel", ""))
    else:
        text = str(getattr(callback, "courier_channel", ""))
    template = Template(text) if text else None
    return Resource(template, callback, name, route, arguments | frozenset(entry.default_args), view_class)


def is_realtime(callback: Any) -> bool:
    """Whether a view answers courier's questions. Decorators around it do not hide that, if they use functools.wraps."""
    return hasattr(callback, "courier_channel") or bool(getattr(_view_class(callback), "courier_realtime", False))


def _view_class(callback: Any) -> type | None:
    # Django's own name, and that of Django REST framework's views.
    found = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
    return found if isinstance(found, type) else None


def _init(callback: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(callback, "view_initkwargs", None) or getattr(callback, "initkwargs", None) or {}
    return found


def _arguments(pattern: Any) -> frozenset[str]:
    regex: re.Pattern[str] = pattern.regex
    return frozenset(regex.groupindex)
