"""courier's configuration, made from the project's settings (TOML).

What the file says of Redis, of names and of the secret is what this package itself goes by, so the two cannot differ. It
holds secrets: the callback's, and Redis's password if the URL has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from courier_django.conf import Settings

#: courier's own order of sections is kept where there is one.
_SECTIONS = ("redis", "broker", "server", "http", "callback", "admin", "sse")


def written(settings: Settings) -> str:
    """The whole file. Raises ``ValueError`` for what TOML does not have."""
    source = {"broker.listen": settings.broker} if settings.broker else {"redis.url": settings.url}
    options: dict[str, Any] = {
        **source,
        "server.listen": [settings.listen],
        "admin.listen": settings.admin,
        "http.allowed_origins": list(settings.allowed_origins),
        "callback.url": callback_url(settings),
        "callback.secret": settings.secret,
        "callback.headers": list(settings.headers),
    }
    if not settings.events_url.startswith("/"):
        # Pages and courier are of different origins: cookies come along only if courier says that they may.
        options["http.allow_credentials"] = "yes"
    options.update(settings.options)
    sections: dict[str, list[str]] = {name: [] for name in _SECTIONS}
    for key, value in options.items():
        section, _, name = key.rpartition(".")
        # An empty list is courier's own way of saying that nothing is given.
        if value != []:
            sections.setdefault(section, []).append(f"{_key(name)} = {toml(value)}")
    parts = ["# Made from the settings of the Django project by `manage.py courier_config`. It holds secrets."]
    parts += [f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items() if lines]
    parts += [
        "[[channels]]\n" + "\n".join(f"{_key(key)} = {toml(value)}" for key, value in row.items()) for row in rows(settings)
    ]
    return "\n\n".join(parts) + "\n"


def rows(settings: Settings) -> list[dict[str, Any]]:
    """The channel rules: the project's own, what is public, and Django is asked about everything else."""
    common = {"payload": settings.payload}
    own = [common | {**row, "match": settings.prefix + str(row["match"])} for row in settings.channels]
    public = [{"match": settings.prefix + name, "access": "public", **common} for name in settings.public]
    rest = {"match": _escaped(settings.prefix) + "*", "access": "callback", **common}
    return [*own, *public, rest]


def callback_url(settings: Settings) -> str:
    """Where courier asks, in courier's own spelling of Unix sockets."""
    parts = urlsplit(settings.django_url)
    if parts.scheme == "http+unix":
        return f"unix:{parts.path}:{settings.callback_path}"
    return settings.django_url + settings.callback_path


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON's strings are TOML's basic strings, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {toml(one)}" for key, one in value.items()) + " }"
    raise ValueError(f"{value!r} is nothing that TOML has")


def _key(name: str) -> str:
    is_bare = name and all(character.isascii() and (character.isalnum() or character in "_-") for character in name)
    return name if is_bare else json.dumps(name)


def _escaped(text: str) -> str:
    """A text as a Redis glob that matches only itself."""
    return "".join(f"\\{character}" if character in "*?[]\\" else character for character in text)
