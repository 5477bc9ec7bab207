"""docs/guide/django.md, word for word in a clean environment. Only the ports are others, so that tests do not meet."""

import http.client
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.processes import REPOSITORY, Process, accepts, clean_environment, courier_binary, free_port, until
from support.stream import Stream

GUIDE = REPOSITORY / "docs/guide/django.md"
#: What installs and builds may take.
PATIENCE_SECONDS = 90.0
#: What the page has its readers do, among other things.
MILESTONES = [
    "pip install",
    "startproject",
    "check",
    "runcourier --runserver",
    "publish(",
    "createsuperuser",
    "curl",
    "--check-config",
]


class Guide:
    """The page as a list of what to do, and a folder to do it in."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = {number: free_port() for number in ("8000", "8080", "6380", "8081")}
        text = GUIDE.read_text()
        for number, port in self.ports.items():
            text = re.sub(rf"(?<=127\.0\.0\.1:){number}\b", str(port), text)
        self.parts = re.split(r"^```(\w*)$\n?", text, flags=re.M)
        (home / "bin").mkdir()
        (home / "bin" / "courier").symlink_to(os.path.realpath(courier_binary()))
        (home / "courier").symlink_to(REPOSITORY)
        self.cwd = home
        path = f"{home / 'live/.venv/bin'}:{home / 'bin'}:{os.environ['PATH']}"
        self.environment = clean_environment(HOME=str(home), PATH=path, PYTHONUNBUFFERED="1", COURIER=str(home / "courier"))

    def steps(self) -> Iterator[tuple[str, str, str]]:
        """What stands before a block, its language, and the block."""
        for at in range(0, len(self.parts) - 2, 4):
            yield self.parts[at], self.parts[at + 1], self.parts[at + 2]

    def write(self, before: str, content: str) -> None:
        """A block that belongs into a file: the last that is named before it."""
        path = self.cwd / re.findall(r"`([\w/]+\.\w+)`:?\s*$", before.strip(), re.M)[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        at_the_end = "At the end of" in before
        path.write_text((path.read_text() if at_the_end else "") + content)
        if path.name == "settings.py":
            path.write_text(path.read_text() + self.other_ports())

    def other_ports(self) -> str:
        """The addresses that the settings have by themselves, for this test alone."""
        django_port, events, _, metrics = self.ports.values()
        return (
            f'COURIER |= {{"DJANGO_URL": "http://127.0.0.1:{django_port}", "LISTEN": "127.0.0.1:{events}", '
            f'"EVENTS_URL": "http://127.0.0.1:{events}/events", "ADMIN": "127.0.0.1:{metrics}"}}\n'
        )

    def run(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", command],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            **more,
        )


def test_the_guide_leads_to_a_live_page(tmp_path: Path) -> None:
    guide = Guide(tmp_path)
    servers: list[Process] = []
    done: list[str] = []
    try:
        for before, language, content in guide.steps():
            if language in ("python", "html") and re.search(r"`[\w/]+\.(py|html)`:\s*$", before):
                guide.write(before, content)
            if language != "sh":
                continue
            for command in content.strip().splitlines():
                done.append(command)
                follow(guide, command, servers)
    finally:
        for server in servers:
            server.__exit__()
    for wanted in MILESTONES:
        assert any(wanted in command for command in done), wanted


def follow(guide: Guide, command: str, servers: list[Process]) -> None:
    """Does one line of the page as a reader would, and looks at what they would look at."""
    if command.startswith(("export ", ". ")):
        return  # The environment is that of these lines.
    if command.startswith("cd "):
        guide.cwd = guide.cwd / command.split()[1]
        return
    if "runcourier" in command:
        for server in servers:
            server.stop()
        servers.append(Process(shlex.split(command), guide.environment, guide.cwd))
        servers[-1].until("Django and courier answer", lambda: all(accepts(guide.ports[one]) for one in ("8000", "8080")))
        if len(servers) == 1:
            look_at_the_page(guide)
        return
    if "createsuperuser" in command:
        command += " --noinput"
        guide.environment["DJANGO_SUPERUSER_PASSWORD"] = "x"
    if "curl" in command:
        until("courier is connected", lambda: "HTTP/1.1 403" in guide.run(f"{command} --max-time 5 || true").stdout)
        return
    stream = listening(guide) if "publish(" in command else None
    result = guide.run(command)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    if "manage.py check" in command:
        assert "no issues" in result.stdout + result.stderr
    if stream is not None:
        with stream:
            assert stream.block()["data"] == '{"text":"from the shell"}'


def listening(guide: Guide) -> Stream:
    stream = Stream(int(guide.ports["8080"]), "news")
    assert stream.status == 200
    stream.block()
    return stream


def look_at_the_page(guide: Guide) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guide.ports["8000"], timeout=20)
    connection.request("GET", "/")
    response = connection.getresponse()
    page = response.read().decode()
    assert f'src="http://127.0.0.1:{guide.ports["8080"]}/events?channel=news"' in page, page
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    cookie = response.headers["Set-Cookie"].split(";")[0]
    script = re.findall(r'<script type="module" src="([^"]+)"', page)[0]
    connection.request("GET", script)
    assert "CourierEvents" in connection.getresponse().read().decode()
    with listening(guide) as stream:
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/", f"csrfmiddlewaretoken={token}&text=hello", headers)
        answer = connection.getresponse()
        assert answer.status == 204, answer.read()
        assert stream.block()["data"] == '{"text":"hello"}'
    connection.close()


def test_what_is_installed_is_complete(tmp_path: Path) -> None:
    """The wheel has the script, the template tags, the commands and the marker of types; nothing of the tests."""
    package = REPOSITORY / "django"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(package)]
    subprocess.run(command, env=clean_environment(), check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (package / "courier_django").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {str(path.relative_to(package)) for path in files}
    assert wanted <= names
    assert {name for name in names - wanted if ".dist-info/" not in name} == set()
    assert wheel.name == "courier_django-0.1.0-py3-none-any.whl"
