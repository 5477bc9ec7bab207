"""The package with the real courier: its configuration, the command that starts it, and who hears what."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from courier_django import config_file, publish
from courier_django.conf import get_settings
from support.processes import DEADLINE_SECONDS, Process, accepts, clean_environment, courier_binary, free_port, until
from support.redis_server import RedisServer
from support.stream import Stream

HERE = Path(__file__).parent
LOG_ALL_OUT = "from django.contrib.sessions.models import Session; Session.objects.all().delete()"
MANAGE = str(HERE / "manage.py")


@pytest.mark.parametrize(
    "courier",
    [
        {},
        {"URL": "redis://:p%40ss@127.0.0.1:7000/3", "PREFIX": 'sh[o]p"ä.', "PAYLOAD": "envelope", "PUBLIC": ["news.*", "a b"]},
        {"URL": "unix:///run/redis.sock?db=2", "DJANGO_URL": "http+unix:///run/django.sock", "EVENTS_URL": "/events"},
        {
            "CHANNELS": [
                {"match": "price.*", "access": "public", "slow": "latest", "history": {"count": 1, "age": "5m"}},
                {"match": "inner.*", "access": "closed"},
            ],
            "OPTIONS": {"sse.heartbeat": "30s", "limits.channels": 1000, "server.listen": ["127.0.0.1:9090", "[::1]:9090"]},
            "HEADERS": [],
        },
        {"BROKER": "127.0.0.1:6380", "EVENTS_URL": "/events"},
        {"LISTEN": "unix:/run/courier.sock,mode=0660", "EVENTS_URL": "https://events.example/events"},
    ],
)
def test_courier_takes_the_configuration(courier: Any, tmp_path: Path) -> None:
    file = tmp_path / "courier.toml"
    with override_settings(COURIER=courier), file.open("w") as out:
        call_command("courier_config", stdout=out)
    done = subprocess.run(
        [courier_binary(), "--config", str(file), "--check-config"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}{file.read_text()}"


def test_the_configuration_has_one_rule_for_what_django_is_asked_about() -> None:
    with override_settings(COURIER={"PREFIX": "a*.", "PUBLIC": ["news.*"], "CHANNELS": [{"match": "x", "access": "closed"}]}):
        assert config_file.rows(get_settings()) == [
            {"match": "a*.x", "access": "closed", "payload": "raw"},
            {"match": "a*.news.*", "access": "public", "payload": "raw"},
            {"match": "a\\*.*", "access": "callback", "payload": "raw"},
        ]


@pytest.mark.parametrize("binary", ["", "/nowhere/courier", "/tmp"])
def test_without_the_program_it_is_told_how_to_get_it(binary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="cargo install --path"):
        call_command("runcourier", binary=binary)


@dataclass(frozen=True)
class People:
    """A database with two users who are logged in; copied for each test."""

    file: Path
    anna: int
    anna_session: str
    staff_session: str


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    file = tmp_path_factory.mktemp("people") / "db.sqlite3"
    environment = clean_environment(SHOP_STORAGE=str(file), SHOP_COURIER="{}")
    script = (
        "from django.contrib.auth.models import User\n"
        "from django.core.management import call_command\n"
        "from django.test import Client\n"
        "call_command('migrate', verbosity=0)\n"
        "for name in ['anna', 'staff']:\n"
        "    user, client = User.objects.create_user(name, is_staff=name == 'staff'), Client()\n"
        "    client.force_login(user)\n"
        "    print('made', user.pk, client.cookies['sessionid'].value)"
    )
    lines = [line.split() for line in manage(environment, "shell", "--command", script).splitlines()]
    (_, anna, anna_session), (_, _, staff_session) = [words for words in lines if words[:1] == ["made"]]
    return People(file, int(anna), anna_session, staff_session)


def manage(environment: dict[str, str], *command: str) -> str:
    """A command of manage.py, to its end."""
    done = subprocess.run(
        [sys.executable, MANAGE, *command], env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Project:
    """The tests' project with a database of its own, courier and Django's development server, both by runcourier."""

    def __init__(self, folder: Path, people: People, redis: RedisServer, **courier: Any) -> None:
        self.port, self.admin, self.django = free_port(), free_port(), free_port()
        settings = {
            "URL": redis.url,
            "LISTEN": f"127.0.0.1:{self.port}",
            "ADMIN": f"127.0.0.1:{self.admin}",
            "DJANGO_URL": f"http://127.0.0.1:{self.django}",
            "EVENTS_URL": "/events",
            "OPTIONS": {"runtime.shards": 2, "sse.retry": "100ms"},
            "BINARY": courier_binary(),
            **courier,
        }
        database = shutil.copy(people.file, folder / f"{self.port}.sqlite3")
        self.environment = clean_environment(
            SHOP_STORAGE=str(database), SHOP_COURIER=json.dumps(settings), PYTHONUNBUFFERED="1"
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Process]:
        with Process([sys.executable, MANAGE, "runcourier", *arguments], self.environment) as process:
            process.until("courier is ready", self.is_ready)
            if "--runserver" in arguments:
                process.until("Django answers", lambda: accepts(self.django))
            yield process

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def listen(self, *channels: str, cookie: str = "", query: str = "", **headers: str) -> Stream:
        if cookie:
            headers["Cookie"] = f"sessionid={cookie}"
        return Stream(self.port, *channels, headers=headers, query=query)


@pytest.fixture
def make_project(tmp_path: Path, people: People, redis_server: RedisServer) -> Callable[..., Project]:
    return lambda **courier: Project(tmp_path, people, redis_server, **courier)


def test_runcourier_is_courier_in_its_signals_and_its_exit_code(make_project: Any) -> None:
    project = make_project(PUBLIC=["*"])
    with project.running() as process:
        assert os.readlink(f"/proc/{process.child.pid}/exe") == os.path.realpath(courier_binary())
        with project.listen("a") as stream:
            assert stream.status == 200
        process.child.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    with Process([sys.executable, MANAGE, "runcourier", "--", "--no-such-option"], project.environment) as process:
        assert process.wait() == 2
        assert "--no-such-option" in process.output
    with Process([sys.executable, MANAGE, "runcourier", "--", "--check-config"], project.environment) as process:
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_courier_and_the_development_server_end_together(make_project: Any, number: signal.Signals) -> None:
    project = make_project(PUBLIC=["*"])
    with project.running("--runserver") as process:
        children = Path(f"/proc/{process.child.pid}/task/{process.child.pid}/children").read_text().split()
        assert len(children) == 2
        process.child.send_signal(number)
        assert process.wait() == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        process.child.returncode = 0
        for port in (project.port, project.django):
            until_refused(port)


def test_when_courier_ends_the_development_server_does_and_the_code_is_couriers(make_project: Any) -> None:
    project = make_project(OPTIONS={"no.such": "option"})
    with Process([sys.executable, MANAGE, "runcourier", "--runserver"], project.environment) as process:
        assert process.wait() == 2
        assert "no: no such key" in process.output
    until_refused(project.django)


def until_refused(port: int) -> None:
    def is_refused() -> bool:
        try:
            return not accepts(port)
        except ConnectionRefusedError:
            return True

    until(f"nobody listens at {port}", is_refused)


def test_courier_lets_in_whom_django_lets_in_and_delivers_what_it_publishes(
    make_project: Any, people: People, redis_server: RedisServer
) -> None:
    project = make_project(PAYLOAD="envelope", PUBLIC=["open.*"], PREFIX="shop.", GRANT_SECONDS=3600)
    pk, anna, staff = people.anna, people.anna_session, people.staff_session
    with (
        project.running("--runserver"),
        override_settings(COURIER={"URL": redis_server.url, "PAYLOAD": "envelope", "PREFIX": "shop."}),
    ):
        for channels, cookie, status in [
            (["shop.open.a"], "", 200),
            (["shop.chat.main"], "", 200),
            (["shop.chat.secret"], anna, 403),
            (["shop.chat.main", "shop.chat.secret"], anna, 403),
            (["shop.chat.secret"], staff, 200),
            ([f"shop.notices.{pk}"], anna, 200),
            ([f"shop.notices.{pk}"], staff, 403),
            ([f"shop.notices.{pk}"], "no such session", 403),
            (["shop./members/"], anna, 200),
            (["shop./members/"], "", 403),
            (["shop.drf"], anna, 200),
            (["shop.drf"], "", 403),
            (["shop.nobody"], staff, 403),
            (["chat.main"], staff, 403),
        ]:
            with project.listen(*channels, cookie=cookie) as stream:
                assert stream.status == status, (channels, stream.problem)
        with project.listen("shop.open.a", f"shop.notices.{pk}", cookie=anna) as stream:
            stream.block()
            publish(f"notices.{pk}", {"text": "hällo"}, event="notice")
            publish("open.a", "plain")
            first, second = stream.block(), stream.block()
            assert (first["event"], first["data"]) == ("notice", '{"text":"hällo"}')
            assert ("event" in second, second["data"]) == (False, "plain")


def test_a_grant_ends_and_whoever_may_still_listen_goes_on(
    make_project: Any, people: People, redis_server: RedisServer
) -> None:
    project = make_project(GRANT_SECONDS=1)
    anna = people.anna_session
    with project.running("--runserver"), override_settings(COURIER={"URL": redis_server.url}):
        with project.listen("/members/", cookie=anna) as stream:
            last = stream.block()["id"]
            publish("/members/", "before")
            last = stream.block()["id"]
            assert stream.block()["event"] == "courier-expired"
            assert stream.block() == {}
        publish("/members/", "meanwhile")
        with project.listen("/members/", cookie=anna, **{"Last-Event-ID": last}) as stream:
            assert stream.block()["id"] == last
            assert stream.block()["data"] == "meanwhile"
        manage(
            project.environment,
            "shell",
            "--command",
            "from django.contrib.sessions.models import Session; Session.objects.all().delete()",
        )
        with project.listen("/members/", cookie=anna, **{"Last-Event-ID": last}) as stream:
            assert stream.status == 403


def test_while_django_is_away_clients_are_told_to_come_back(make_project: Any) -> None:
    project = make_project()
    with project.running(), project.listen("chat.main") as stream:
        assert stream.status == 200
        assert list(stream.block()) == ["retry"]
        assert stream.block() == {}
