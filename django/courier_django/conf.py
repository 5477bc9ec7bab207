"""The setting ``COURIER``: read, checked and typed in one place.

Every key has a default, so ``COURIER`` may be missing altogether. A mistake is a :class:`Problem` with a hint; the system
checks show all of them, and whoever needs the settings of a project with mistakes gets the first as
``ImproperlyConfigured``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from courier_django.channels import RESERVED, has_control_character

Payload = Literal["raw", "envelope"]

_SECRET_SALT = "courier_django.callback"  # noqa: S105 (the salt of a key, not a key)
_SECRET_CHARACTERS_MIN = 32
_DEFAULT_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class Problem:
    """One mistake in ``COURIER``."""

    key: str
    message: str
    hint: str


@dataclass(frozen=True)
class Settings:
    """``COURIER``, complete. A field's name is its key in capitals."""

    #: Where Redis is, for publishing and for courier.
    url: str = _DEFAULT_URL
    #: Instead of Redis: the address of courier's own broker, as in ``"127.0.0.1:6380"``. ``url`` is made from it.
    broker: str = ""
    #: In front of every channel's name in Redis, as in ``"shop."``; names in Python and in pages are without it.
    prefix: str = ""
    #: ``"raw"``: the payload is the data. ``"envelope"``: it can also name an event.
    payload: Payload = "raw"
    #: Whether ``publish`` waits for the commit of the transaction that it is called in.
    on_commit: bool = True
    #: Seconds until a Redis that does not answer counts as lost.
    timeout: float = 5.0
    #: What courier and Django sign the callback with. By default made from ``SECRET_KEY``.
    secret: str = ""
    #: Signatures with these are still accepted, while a secret is being replaced.
    secret_fallbacks: tuple[str, ...] = ()
    #: Where the middleware answers courier.
    callback_path: str = "/.courier/authorize"
    #: Where courier reaches Django: ``http://host:port`` or ``http+unix:///path``.
    django_url: str = "http://127.0.0.1:8000"
    #: Seconds for which courier may rely on an answer before it asks again.
    grant_seconds: int = 300
    #: Fields of a browser's request that courier sends along when it asks, in lower case. Cookies always are.
    headers: tuple[str, ...] = ("authorization", "accept-language")
    #: Decides about channels that no view has: the dotted path of ``f(request, channel) -> bool``.
    authorize: str = ""
    #: Where browsers reach courier's streams: a path behind the same proxy, or an URL.
    events_url: str = "http://127.0.0.1:8080/events"
    #: Channels that are open to everyone, as Redis globs.
    public: tuple[str, ...] = ()
    #: Further ``[[channels]]`` rows for courier, in front of the others.
    channels: tuple[Mapping[str, Any], ...] = ()
    #: Where courier listens.
    listen: str = "127.0.0.1:8080"
    #: Where courier's metrics are.
    admin: str = "127.0.0.1:8081"
    #: The origins whose pages may read the streams. By default those of ``CSRF_TRUSTED_ORIGINS`` and of ``django_url``.
    allowed_origins: tuple[str, ...] = ()
    #: Any other option of courier, as in ``{"sse.heartbeat": "30s"}``.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The ``courier`` program, if it is not on the path.
    binary: str = ""

    def name_in_redis(self, channel: str) -> str:
        """The channel's name with the prefix."""
        return self.prefix + channel

    @property
    def safe_url(self) -> str:
        """``url`` without its password, for messages."""
        parts = urlsplit(self.url)
        if parts.password is None:
            return self.url
        return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()


Value = TypeVar("Value")


def get_settings() -> Settings:
    """The project's settings; raises ``ImproperlyConfigured`` with the first problem, if there is one."""
    found, problems = read_settings()
    if problems:
        raise ImproperlyConfigured(f"{problems[0].message} {problems[0].hint}")
    return found


@lru_cache(maxsize=1)
def read_settings() -> tuple[Settings, tuple[Problem, ...]]:
    """The project's settings as far as they can be read, and every mistake in them."""
    given: Any = getattr(django_settings, "COURIER", {})
    if not isinstance(given, Mapping):
        problem = Problem("COURIER", "COURIER is not a dictionary.", 'Write COURIER = {"PAYLOAD": "envelope", ...}.')
        return Settings(), (problem,)
    return _Reader(given).read()


class _Reader:
    """Reads the keys one by one, and remembers what was wrong with them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.problems: list[Problem] = []

    def read(self) -> tuple[Settings, tuple[Problem, ...]]:
        standard = Settings()
        keys = [one.name.upper() for one in fields(Settings)]
        for key in self.given:
            if key not in keys:
                self._unknown(str(key), keys)
        django_url = self._value("DJANGO_URL", standard.django_url, _django_url)
        broker = self._value("BROKER", standard.broker, _broker)
        url = f"redis://{broker}/0" if broker else os.environ.get("REDIS_URL") or standard.url
        settings = Settings(
            url=self._value("URL", url, _redis_url),
            broker=broker,
            prefix=self._value("PREFIX", standard.prefix, _prefix),
            payload=self._value("PAYLOAD", standard.payload, _payload),
            on_commit=self._value("ON_COMMIT", standard.on_commit, _boolean),
            timeout=self._value("TIMEOUT", standard.timeout, _seconds),
            secret=self._value("SECRET", _derived_secret(django_settings.SECRET_KEY), _secret),
            secret_fallbacks=self._value("SECRET_FALLBACKS", _derived_fallbacks(), _secrets),
            callback_path=self._value("CALLBACK_PATH", standard.callback_path, _path),
            django_url=django_url,
            grant_seconds=self._value("GRANT_SECONDS", standard.grant_seconds, _whole_seconds),
            headers=self._value("HEADERS", standard.headers, _names),
            authorize=self._value("AUTHORIZE", standard.authorize, _dotted_path),
            events_url=self._value("EVENTS_URL", standard.events_url, _events_url),
            public=self._value("PUBLIC", standard.public, _names),
            channels=self._value("CHANNELS", standard.channels, _rows),
            listen=self._value("LISTEN", standard.listen, _text),
            admin=self._value("ADMIN", standard.admin, _text),
            allowed_origins=self._value("ALLOWED_ORIGINS", standard_origins(django_url), _names),
            options=self._value("OPTIONS", standard.options, _options),
            binary=self._value("BINARY", standard.binary, _text),
        )
        return settings, tuple(self.problems)

    def _value(self, key: str, default: Value, parse: Callable[[Any], Value]) -> Value:
        """The parsed value; the default if there is none, or none that can be read."""
        try:
            return parse(self.given[key]) if key in self.given else parse(default)
        except ValueError as error:
            message, _, hint = str(error).partition("\n")
            self.problems.append(Problem(key, f'COURIER["{key}"] {message}', hint))
            return default

    def _unknown(self, key: str, keys: list[str]) -> None:
        near = difflib.get_close_matches(key.upper(), keys, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(keys)}."
        self.problems.append(Problem(key, f"COURIER has no key {key!r}.", hint))


def _derived_secret(key: str | bytes) -> str:
    # Not the key itself: courier has no need to know what signs the project's sessions.
    text = key.decode("latin-1") if isinstance(key, bytes) else key
    return salted_hmac(_SECRET_SALT, "secret", secret=text, algorithm="sha256").hexdigest() if text else ""


def _derived_fallbacks() -> tuple[str, ...]:
    return tuple(_derived_secret(key) for key in django_settings.SECRET_KEY_FALLBACKS)


def standard_origins(django_url: str) -> tuple[str, ...]:
    """The origins whose pages are the project's own."""
    origins = list(django_settings.CSRF_TRUSTED_ORIGINS)
    parts = urlsplit(django_url)
    if parts.scheme in ("http", "https"):
        origins.append(f"{parts.scheme}://{parts.netloc}")
        if parts.hostname == "127.0.0.1":
            # Both are what people type when `runserver` says where it is.
            origins.append(f"{parts.scheme}://localhost" + (f":{parts.port}" if parts.port else ""))
    return tuple(dict.fromkeys(origins))


def _redis_url(value: object) -> str:
    text = _text(value)
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            f"is {text!r}, which is no address of Redis.\n"
            "Write redis://host:6379/0 or unix:///run/redis.sock, or leave it out and set the variable REDIS_URL."
        )
    return text


def _broker(value: object) -> str:
    text = _text(value)
    if text and not text.rpartition(":")[2].isdigit():
        raise ValueError(f'is {text!r}.\nWrite the address at which courier shall take messages, such as "127.0.0.1:6380".')
    return text


def _prefix(value: object) -> str:
    text = _text(value)
    if has_control_character(text):
        raise ValueError('has a control character.\nWrite a prefix such as "shop.".')
    if text.startswith(RESERVED):
        raise ValueError('begins with "__" or "courier:", which are reserved.\nWrite a prefix such as "shop.".')
    return text


def _payload(value: object) -> Payload:
    if value == "raw":
        return "raw"
    if value == "envelope":
        return "envelope"
    raise ValueError(f'is {value!r}.\nWrite "raw" (the payload is the data) or "envelope" (events have names).')


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}.\nWrite True or False.")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
        raise ValueError(f"is {value!r}.\nWrite a number of seconds above 0, such as 5.")
    return float(value)


def _whole_seconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 86_400:
        raise ValueError(f"is {value!r}.\nWrite a whole number of seconds between 1 and 86400, such as 300.")
    return value


def _text(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"is {value!r}, not a text.\nWrite it in quotes.")
    return os.fspath(value)


def _secret(value: object) -> str:
    text = _text(value)
    if len(text) < _SECRET_CHARACTERS_MIN:
        raise ValueError(
            f"has {len(text)} characters, which can be guessed.\nLeave it out to have it made from SECRET_KEY, or write "
            f"at least {_SECRET_CHARACTERS_MIN} random characters."
        )
    return text


def _secrets(value: object) -> tuple[str, ...]:
    return tuple(_secret(one) for one in _sequence(value))


def _path(value: object) -> str:
    text = _text(value)
    if not text.startswith("/") or "?" in text or "#" in text:
        raise ValueError(f"is {text!r}.\nWrite a path that begins with a slash, such as /.courier/authorize.")
    return text


def _django_url(value: object) -> str:
    text = _text(value).rstrip("/")
    parts = urlsplit(text)
    is_http = parts.scheme == "http" and bool(parts.netloc) and not parts.path
    if not is_http and not (parts.scheme == "http+unix" and parts.path):
        raise ValueError(
            f"is {text!r}, where courier cannot reach Django.\n"
            "Write http://host:port or http+unix:///path/of/the.sock (courier speaks no TLS there), without a path behind."
        )
    return text


def _dotted_path(value: object) -> str:
    text = _text(value)
    if text and "." not in text:
        raise ValueError(f'is {text!r}.\nWrite the dotted path of a function, such as "shop.access.may_listen".')
    return text


def _events_url(value: object) -> str:
    text = _text(value)
    if not text.startswith(("/", "http://", "https://")) or "?" in text:
        raise ValueError(f"is {text!r}.\nWrite a path such as /events, or an URL such as https://events.example/events.")
    return text


def _sequence(value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"is {value!r}, not a list.\nWrite it in square brackets.")
    return list(value)


def _names(value: object) -> tuple[str, ...]:
    return tuple(_text(one) for one in _sequence(value))


def _rows(value: object) -> tuple[Mapping[str, Any], ...]:
    rows = _sequence(value)
    for row in rows:
        if not isinstance(row, Mapping) or "match" not in row:
            raise ValueError(f'has a row {row!r} that no channel matches.\nWrite {{"match": "news.*", "access": "public"}}.')
    return tuple(rows)


def _options(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and "." in key for key in value):
        raise ValueError(f'is {value!r}.\nWrite courier\'s options by key, as in {{"sse.heartbeat": "30s"}}.')
    return value
