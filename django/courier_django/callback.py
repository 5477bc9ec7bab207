"""The callback on the wire: courier's question, its signature, and the answer.

courier asks before it lets a client in::

    POST /.courier/authorize
    X-Courier-Signature: t=<Unix time>,v1=<HMAC-SHA256 of "<Unix time>.<body>", in hexadecimal>

    {"right": "subscribe", "channels": ["chat.main"], "cookies": {"sessionid": ".."},
     "headers": {"authorization": ".."}, "peer": "192.0.2.7"}

and takes 200 with ``{"channels": [..], "user": "7", "expires": 1767225600.0, "cache": 10}`` as a grant, 401 and 403 as a
refusal that its client is told. Any other status counts as a failure of the application, and the client is told to come back
later; so a question that is not courier's is answered by 400, not by 403, which would send browsers away for good.

Only what is signed counts: the cookies are those of the body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.crypto import constant_time_compare

from courier_django.conf import Settings
from courier_django.errors import CourierError

#: The header with the signature, as Django has it in ``META``.
SIGNATURE = "HTTP_X_COURIER_SIGNATURE"
#: For how long a signature holds: clocks differ, and questions wait.
SIGNATURE_SECONDS = 300
#: As many as a stream of courier has.
CHANNELS_MAX = 64


class BadQuestionError(CourierError):
    """No question of courier's; the message says why."""


@dataclass(frozen=True)
class Question:
    """May this client listen to these channels?"""

    #: Names as in Redis, with the prefix.
    channels: tuple[str, ...]
    cookies: Mapping[str, str] = field(default_factory=dict)
    #: Those that ``COURIER["HEADERS"]`` names, in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The address at the other end, if courier says it.
    peer: str = ""
    right: str = "subscribe"


def sign(secret: str, body: bytes, now: float) -> str:
    """The signature of a body."""
    return f"t={int(now)},v1={_digest(secret, int(now), body)}"


def verify(settings: Settings, signature: str, body: bytes, now: float) -> None:
    """Raises if the body is not signed with the secret, or with one that is being replaced."""
    parts = [part.strip().partition("=") for part in signature.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or not given:
        raise BadQuestionError(
            "The question is not signed. Give courier the secret: callback.secret, as `manage.py courier_config` prints it."
        )
    secrets = (settings.secret, *settings.secret_fallbacks)
    digests = [_digest(secret, int(times[0]), body) for secret in secrets if secret]
    if not any(constant_time_compare(one, other) for one in digests for other in given):
        raise BadQuestionError(
            "The question is signed with another secret. COURIER['SECRET'], or SECRET_KEY that it is made from, differs from "
            "courier's callback.secret: give courier the configuration that `manage.py courier_config` prints now."
        )
    if abs(now - int(times[0])) > SIGNATURE_SECONDS:
        raise BadQuestionError(
            f"The question was signed at {times[0]}, and it is {int(now)} here. Set the clocks of both machines."
        )


def read(body: bytes) -> Question:
    """The question of a body whose signature holds."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise BadQuestionError(f"The question is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadQuestionError("The question is no JSON object.")
    channels = found.get("channels")
    if not isinstance(channels, list) or not 1 <= len(channels) <= CHANNELS_MAX:
        raise BadQuestionError(f"The question has no list of 1 to {CHANNELS_MAX} channels.")
    if not all(isinstance(channel, str) for channel in channels):
        raise BadQuestionError("The question has a channel that is no text.")
    peer = found.get("peer")
    return Question(
        channels=tuple(channels),
        cookies=_texts(found.get("cookies")),
        headers=_texts(found.get("headers")),
        peer=peer if isinstance(peer, str) else "",
        right=str(found.get("right", "subscribe")),
    )


def grant(channels: Sequence[str], user: str, expires: float) -> dict[str, Any]:
    """The body of a grant."""
    body: dict[str, Any] = {"channels": list(channels), "expires": round(expires, 3)}
    if user:
        body["user"] = user
    return body


def _digest(secret: str, time: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (time, body), hashlib.sha256).hexdigest()


def _texts(found: object) -> dict[str, str]:
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}
