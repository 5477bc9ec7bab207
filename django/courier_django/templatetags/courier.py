"""``{% load courier %}{% courier_events "orders.7" %}``: a page hears channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from django import template
from django.http.request import split_domain_port
from django.templatetags.static import static
from django.utils.crypto import salted_hmac
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from courier_django.channels import name_in_redis
from courier_django.conf import get_settings

register = template.Library()

#: Names of the same machine, but not to cookies.
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})

SCRIPT = "courier_django/events.js"


@register.simple_tag(takes_context=True)
def courier_events(
    context: Mapping[str, Any],
    *channels: str,
    history: int = 0,
    resume: bool = False,
    share: bool = True,
    token: str = "",
    id: str = "",
) -> SafeString:
    """The script, and an element that dispatches what comes: ``courier:message``, ``courier:gap`` and others.

    ``history`` begins with so many of the last messages; ``resume`` goes on after a reload where the page was;
    ``share=False`` gives the page a connection of its own; ``token`` is a URL that answers ``{"token": ".."}``.
    """
    attributes = {
        "src": courier_url(context, *channels),
        "prefix": get_settings().prefix,
        "scope": _scope(context),
        "history": str(history) if history else "",
        "token": token,
        "id": id,
        "share": "" if share else "no",
    }
    flags = {"resume": resume, "credentials": not get_settings().events_url.startswith("/")}
    return format_html(
        '<script type="module" src="{}"{}></script><courier-events{}{} hidden></courier-events>',
        static(SCRIPT),
        _nonce(context),
        format_html_join("", ' {}="{}"', ((name, value) for name, value in attributes.items() if value)),
        format_html_join("", " {}", ((name,) for name, is_set in flags.items() if is_set)),
    )


@register.simple_tag(takes_context=True)
def courier_url(context: Mapping[str, Any], *channels: str) -> str:
    """The address of a stream of these channels, for an EventSource or another client."""
    settings = get_settings()
    if not channels:
        raise template.TemplateSyntaxError("courier_events and courier_url take at least one channel")
    names = [("channel", name_in_redis(settings, channel)) for channel in channels]
    return f"{_events_url(settings.events_url, context.get('request'))}?{urlencode(names)}"


def _events_url(url: str, request: Any) -> str:
    """On a developer's machine: by the name that the page was asked for, because cookies go by that name."""
    parts = urlsplit(url)
    if request is None or parts.hostname not in _LOOPBACK:
        return url
    host = split_domain_port(request.get_host())[0]
    if host not in _LOOPBACK:
        return url
    return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()


def _scope(context: Mapping[str, Any]) -> str:
    """Whoever is logged in, not to be guessed: tabs of different users share no connection."""
    user = getattr(context.get("request"), "user", None) or context.get("user")
    pk = getattr(user, "pk", None)
    return "" if pk is None else salted_hmac("courier_django.scope", str(pk)).hexdigest()[:16]


def _nonce(context: Mapping[str, Any]) -> str:
    """Of a content security policy, as django-csp and Django 6 have it on the request."""
    request = context.get("request")
    nonce = getattr(request, "csp_nonce", None) or context.get("csp_nonce")
    return format_html(' nonce="{}"', nonce) if nonce else ""
