"""Django with the project of the tests, test databases, and one redis-server for the session."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.test.utils import override_settings, setup_databases, setup_test_environment, teardown_databases

sys.path.insert(0, str(Path(__file__).parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
for name in [name for name in os.environ if name.startswith("COURIER_") and name != "COURIER_BIN"] + ["REDIS_URL"]:
    os.environ.pop(name, None)
django.setup()

from support.redis_server import Listener, RedisServer  # noqa: E402

# As the entry point of the installed package does.
pytest_plugins = ["courier_django.pytest_plugin"]

# The guide installs Django 5.2 by itself, and the wheel is the same for all.
collect_ignore = ["test_guide.py"] if django.VERSION < (5, 2) else []


@pytest.fixture(scope="session", autouse=True)
def databases() -> Iterator[None]:
    setup_test_environment()
    made = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(made, verbosity=0)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(scope="class")
def real_redis(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[None]:
    """For test classes: ``self.redis``, and a project that publishes there."""
    request.cls.redis = redis_server
    with override_settings(COURIER={"URL": redis_server.url}):
        yield


@pytest.fixture
def listener(redis_server: RedisServer) -> Iterator[type[Listener]]:
    """Makes subscribers of the session's Redis, and closes them."""
    made: list[Listener] = []

    def make(*channels: str) -> Listener:
        made.append(Listener(redis_server.url, *channels))
        return made[-1]

    yield make  # type: ignore[misc]
    for one in made:
        one.close()
