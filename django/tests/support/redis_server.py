"""A real redis-server of the tests' own: on a Unix socket and on a free port."""

import tempfile
from pathlib import Path

import redis

from .processes import Process, free_port


class RedisServer:
    def __init__(self, *options: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="courier-django-")
        self.socket = Path(self.folder.name) / "redis.sock"
        self.port = free_port()
        self.options = options
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)]
        command += ["--dir", self.folder.name, "--save", "", "--appendonly", "no", *self.options]
        self.process = Process(command)
        self.process.until("redis-server answers", self._answers)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False

    def stop(self) -> None:
        self.process.__exit__()

    def close(self) -> None:
        self.stop()
        self.folder.cleanup()


class Listener:
    """A subscriber with a client of its own."""

    def __init__(self, url: str, *channels: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.pubsub = self.client.pubsub()
        self.pubsub.subscribe(*channels)
        for _ in channels:
            assert self.pubsub.get_message(timeout=10) is not None

    def next(self) -> tuple[str, bytes]:
        message = self.pubsub.get_message(timeout=10)
        assert message is not None, "no message came"
        return message["channel"].decode(), message["data"]

    def nothing_before(self, publish: object) -> None:
        """Nothing has come: what is published now is the next."""
        assert callable(publish)
        publish()
        assert self.next()[1] == b"the next", "something came before"

    def close(self) -> None:
        self.pubsub.close()
        self.client.close()
