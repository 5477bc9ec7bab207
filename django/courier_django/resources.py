"""Realtime resources: views that also say who may listen to which channels.

A resource has a template of its channels' names, such as ``"chat.{room}"``: what stands in braces is an argument of its URL,
or ``{user}``, the primary key of whoever asks. Without a template the channel is the path of the URL.

Here is found which view a channel belongs to. That only decides who is asked: whether the channel is one of the view's is
said by the view itself (``get_channels``), and who may listen as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
        #: Literal text and the name behind it, which the last may lack.
        self.parts: list[tuple[str, str | None]] = []
        for literal, name, spec, conversion in Formatter().parse(text):
            if name is not None and (not name.isidentifier() or spec or conversion):
                raise ValueError(f"{{{name}}} in the channel {text!r} is no plain name; write it as in 'chat.{{room}}'")
            self.parts.append((literal, name))
        #: The names in braces, in order.
        self.names = [name for _, name in self.parts if name is not None]

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

    def pattern(self, converters: Mapping[str, Any]) -> re.Pattern[str]:
        """What matches its names, where the arguments are of the forms that the URL gives them."""
        text = ""
        known: set[str] = set()
        for literal, name in self.parts:
            text += re.escape(literal)
            if name is not None:
                form = converters[name].regex if name in converters else ".+"
                text += f"(?P={name})" if name in known else f"(?P<{name}>{form})"
                known.add(name)
        return re.compile(text, re.DOTALL)


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
    #: Those of them that have a form, as in ``<int:pk>``.
    converters: Mapping[str, Any]
    #: Those that the URLconf gives, so that a path does not have them.
    defaults: frozenset[str]
    #: The class of a class-based view.
    view_class: type | None

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return self.template.pattern(self.converters) if self.template else None

    def path_of(self, channel: str) -> str | None:
        """The path at which the view would have this channel."""
        found = self._pattern.fullmatch(channel) if self._pattern else None
        if found is None or self.template is None or self.name is None:
            return None
        texts = {name: value for name, value in found.groupdict().items() if name in self.template.arguments}
        try:
            values = {
                name: self.converters[name].to_python(text) if name in self.converters else text for name, text in texts.items()
            }
            return reverse(self.name, kwargs=values)
        except (NoReverseMatch, ValueError):
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
    return list(_walk(resolver, ()))


def _walk(resolver: URLResolver, above: tuple[URLResolver, ...]) -> Iterator[Resource]:
    if len(above) > _DEPTH_MAX:
        return
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry, (*above, entry))
        elif isinstance(entry, URLPattern) and is_realtime(entry.callback):
            yield _resource(entry, above)


def _resource(entry: URLPattern, above: tuple[URLResolver, ...]) -> Resource:
    callback = entry.callback
    namespaces = [one.namespace for one in above if one.namespace]
    name: str | Callable[..., Any] | None = None if namespaces else callback
    if entry.name:
        name = ":".join((*namespaces, entry.name))
    view_class = _view_class(callback)
    if view_class:
        text = str(_init(callback).get("channel") or getattr(view_class, "channel", ""))
    else:
        text = str(getattr(callback, "courier_channel", ""))
    patterns: list[Any] = [*(one.pattern for one in above), entry.pattern]
    defaults = frozenset(entry.default_args).union(*(one.default_kwargs for one in above))
    return Resource(
        template=Template(text) if text else None,
        callback=callback,
        name=name,
        route="".join(str(pattern) for pattern in patterns),
        arguments=defaults.union(*(pattern.regex.groupindex for pattern in patterns)),
        converters={name: one for pattern in patterns for name, one in pattern.converters.items()},
        defaults=defaults,
        view_class=view_class,
    )


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
