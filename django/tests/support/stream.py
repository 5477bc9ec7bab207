"""A client of event streams, as plain as it can be."""

import http.client
import json
from types import TracebackType
from typing import Any


class Stream:
    """One connection. Every wait on it is bounded."""

    def __init__(self, port: int, *channels: str, headers: dict[str, str] | None = None, query: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        target = "/events?" + "&".join(f"channel={channel}" for channel in channels) + query
        self.connection.request("GET", target, headers=headers or {})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    @property
    def problem(self) -> Any:
        """The body of a refusal."""
        return json.loads(self.response.read())

    def block(self) -> dict[str, str]:
        """The next block, comments passed over; empty at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "" and fields:
                return fields
            if name and not name.startswith(":"):
                fields[name] = value
        return fields

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.response.close()
        self.connection.close()
