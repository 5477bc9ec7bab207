"""System checks: every mistake that can be seen before a browser meets it, each with its remedy.

====  ==============================================================================================
E001  A mistake in the setting ``COURIER``.
E002  The middleware is missing, and there is something to ask Django about.
E003  The middleware is behind one that may turn courier away, or that its questions need.
E004  A realtime view does not say who may listen.
E005  A channel's template has a name that is no argument of the URL.
E006  A URL in a namespace has no name, so its channels cannot be traced back to it.
E007  ``has_permission`` of a realtime view and that of ``PermissionRequiredMixin`` are in each other's way.
E008  ``COURIER["AUTHORIZE"]`` cannot be imported, or called.
E009  A row of ``COURIER["CHANNELS"]`` or an option that cannot be written as TOML.
W010  Redis is reached by TLS, which courier does not speak.
W011  Two resources have the same template: the second is asked only if the first refuses.
W012  A realtime view of Django REST framework lets everyone listen.
W014  A mixin that asks for a login stands where it is not asked.
W015  A channel's template lacks an argument of the URL, so its channels cannot be traced back to it.
W013  (``--deploy``) Pages look for courier on the machine of whoever looks at them.
====  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver
from django.utils.module_loading import import_string
from django.views import View

from courier_django import config_file
from courier_django.conf import Settings, read_settings
from courier_django.resources import USER, Resource, resources
from courier_django.views import is_djangos, is_rest_view, permission_owner

MIDDLEWARE = "courier_django.middleware.CourierMiddleware"
#: What turns away or redirects courier's POST, which has no token and comes without TLS.
_IN_THE_WAY = {
    "django.middleware.security.SecurityMiddleware": "may redirect courier to https",
    "django.middleware.csrf.CsrfViewMiddleware": "turns away what has no token",
    "django.middleware.common.CommonMiddleware": "may turn away the host by which courier reaches Django",
}


@register("courier_django")
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The setting ``COURIER``, and what is near it."""
    settings, problems = read_settings()
    messages: list[CheckMessage] = [Error(one.message, hint=one.hint, id="courier_django.E001") for one in problems]
    if not problems:
        messages += [*_authorize(settings), *_configuration(settings)]
    if settings.url.startswith("rediss:"):
        messages.append(
            Warning(
                "Redis is reached by TLS (rediss://), which courier does not speak.",
                hint="Put a TLS proxy such as stunnel beside courier, and give courier its address by "
                'COURIER["OPTIONS"] = {"redis.url": "redis://127.0.0.1:6380"}.',
                id="courier_django.W010",
            )
        )
    return messages


@register("courier_django", deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """What is right on a developer's machine only."""
    settings, _problems = read_settings()
    if not settings.events_url.startswith(("http://127.0.0.1", "http://localhost")):
        return []
    return [
        Warning(
            f'COURIER["EVENTS_URL"] is {settings.events_url}: browsers look for courier on their own machine.',
            hint='Let the proxy in front pass /events to courier, and set COURIER["EVENTS_URL"] = "/events".',
            id="courier_django.W013",
        )
    ]


@register("courier_django", Tags.urls)
def check_resources(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The middleware and the realtime views."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    try:
        get_resolver().url_patterns  # noqa: B018 (whether it can be loaded; Django says so if not)
    except (ImportError, ImproperlyConfigured):
        return []
    found = resources()
    messages = list(_middleware(bool(found) or bool(read_settings()[0].authorize)))
    for resource in found:
        messages += [*_template(resource), *_permission(resource)]
    messages += _twice(found)
    return messages


def _middleware(is_needed: bool) -> Iterator[CheckMessage]:
    lines = list(django_settings.MIDDLEWARE)
    hint = f"Make {MIDDLEWARE!r} the first line of MIDDLEWARE."
    if MIDDLEWARE not in lines:
        if is_needed:
            yield Error(
                "There are realtime views, or COURIER['AUTHORIZE'], and nothing that answers courier's questions about them.",
                hint=hint,
                id="courier_django.E002",
            )
        return
    for line in lines[: lines.index(MIDDLEWARE)]:
        if line.startswith("django."):
            effect = _IN_THE_WAY.get(line, "does not see what courier asks for, with its session and its user")
            yield Error(
                f"{line} stands before courier's middleware, and {effect}.",
                hint=hint,
                id="courier_django.E003",
            )


def _template(resource: Resource) -> Iterator[CheckMessage]:
    if resource.template is None:
        return
    unknown = [name for name in resource.template.arguments if name not in resource.arguments]
    known = ", ".join(sorted(resource.arguments | {USER}))
    for name in unknown:
        yield Error(
            f"The channel {resource.template.text!r} of {resource.route!r} has {{{name}}}, which the URL has not.",
            hint=f"There are: {known}. For anything else override get_channels(request).",
            id="courier_django.E005",
        )
    untold = resource.arguments - resource.defaults - set(resource.template.names)
    for name in sorted(untold) if not unknown else []:
        yield Warning(
            f"The channel {resource.template.text!r} does not tell {name!r}, which its URL {resource.route!r} needs: it cannot "
            "be traced back to it.",
            hint=f"Take {{{name}}} into the channel.",
            id="courier_django.W015",
        )
    if resource.name is None:
        yield Error(
            f"The URL {resource.route!r} is in a namespace and has no name, so the channel {resource.template.text!r} cannot "
            "be traced back to it.",
            hint="Give it one: path(.., name=..).",
            id="courier_django.E006",
        )


def _permission(resource: Resource) -> Iterator[CheckMessage]:
    view = resource.view_class
    if view is None:
        return
    mro = view.__mro__
    for base in mro[mro.index(View) :]:
        if is_djangos(base) and "dispatch" in vars(base):
            yield Warning(
                f"{view.__name__} has {base.__name__} behind View, where nobody asks it.",
                hint=f"Write class {view.__name__}({base.__name__}, RealtimeView).",
                id="courier_django.W014",
                obj=view,
            )
    owners = [base for base in view.__mro__ if "has_permission" in vars(base)]
    owner = permission_owner(view)
    if any(is_djangos(base) for base in owners) and not is_djangos(owner):
        yield Error(
            f"{view.__name__} has PermissionRequiredMixin, which calls has_permission() without arguments.",
            hint="Leave has_permission away to have the mixin decide alone (before RealtimeView), or use "
            "django.contrib.auth.decorators.permission_required around the view.",
            id="courier_django.E007",
            obj=view,
        )
    if owner.__module__ != "courier_django.views":
        return
    if not is_rest_view(view):
        yield Error(
            f"{view.__name__} does not say who may listen, so nobody may.",
            hint="Define has_permission(self, request, channel); `return True` lets everyone in whom the view lets in.",
            id="courier_django.E004",
            obj=view,
        )
    elif all(one.__name__ == "AllowAny" for one in getattr(view, "permission_classes", [])):
        yield Warning(
            f"{view.__name__} lets everyone listen: its permission classes let everyone in.",
            hint="Set permission_classes, or define has_permission(self, request, channel).",
            id="courier_django.W012",
            obj=view,
        )


def _twice(found: Sequence[Resource]) -> Iterator[CheckMessage]:
    seen: dict[str, Resource] = {}
    for resource in found:
        if resource.template is None:
            continue
        first = seen.setdefault(resource.template.text, resource)
        if first is not resource and first.callback is not resource.callback:
            yield Warning(
                f"{first.route!r} and {resource.route!r} both have the channel {resource.template.text!r}: "
                "whoever one of them lets in may listen.",
                hint="Give one of them another channel.",
                id="courier_django.W011",
            )


def _authorize(settings: Settings) -> Iterator[CheckMessage]:
    if not settings.authorize:
        return
    try:
        is_callable = callable(import_string(settings.authorize))
    except ImportError as error:
        yield Error(
            f'COURIER["AUTHORIZE"] cannot be imported: {error}',
            hint='Write the dotted path of a function f(request, channel), such as "shop.access.may_listen".',
            id="courier_django.E008",
        )
        return
    if not is_callable:
        yield Error(
            f'COURIER["AUTHORIZE"] names {settings.authorize}, which cannot be called.',
            hint="Write the dotted path of a function f(request, channel) that answers True or False.",
            id="courier_django.E008",
        )


def _configuration(settings: Settings) -> Iterator[CheckMessage]:
    try:
        config_file.written(settings)
    except ValueError as error:
        yield Error(
            f"courier's configuration cannot be written: {error}",
            hint='COURIER["CHANNELS"] and COURIER["OPTIONS"] have texts, numbers, booleans, lists and dictionaries only.',
            id="courier_django.E009",
        )
