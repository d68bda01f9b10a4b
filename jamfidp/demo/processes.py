"""The processes of a console on one machine: sandbox tenant, task worker, web server.

Everything they write stays in one folder. Ports are on loopback; the console is at
localhost and the sandbox at 127.0.0.1, so that their cookies never meet.
"""

import base64
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from django.conf import settings

START_SECONDS = 90
STOP_SECONDS = 10


# In the order in which they are stopped: the sandbox last.
NAMES = ("console", "worker", "sandbox")


class DidNotStart(Exception):
    """A process ended or stayed silent; the message holds the end of its log."""


class InUse(Exception):
    """Another demo works in the folder; the message says how to reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    console: int
    sandbox: int
    pages: int


@dataclass(slots=True, kw_only=True)
class Installation:
    """A folder with everything one console writes, and the processes that serve it."""

    folder: Path
    ports: Ports
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def console_url(self) -> str:
        return f"http://localhost:{self.ports.console}"

    @property
    def administrator_password(self) -> str:
        """Made once for this folder, readable by its owner alone."""
        return (self.folder / "administrator-password").read_text()

    @property
    def sandbox_facts(self) -> Mapping[str, Any]:
        """What the sandbox says of itself: addresses, tenants, application, key."""
        facts: Mapping[str, Any] = json.loads(
            (self.folder / "sandbox" / "sandbox.json").read_text()
        )
        return facts

    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if k != "DATABASE_URL"},
            "ENV_FILE": str(self.folder / "env"),
            "VAR_DIR": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            **_values(self.folder / "env"),
        }

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"


def free_ports() -> Ports:
    """Three ports that nothing listens on now."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return Ports(
            console=sockets[0].getsockname()[1],
            sandbox=sockets[1].getsockname()[1],
            pages=sockets[2].getsockname()[1],
        )
    finally:
        for one in sockets:
            one.close()


def is_free(port: int) -> bool:
    """Whether nothing listens there on loopback, whatever localhost means here."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as one:
            one.settimeout(1)
            if one.connect_ex((address, port)) == 0:
                return False
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# --- Who uses a folder -------------------------------------------------------------
#
# Each process holds a lock on a file of its own, which its children inherit and the
# kernel lets go when the last of them is gone: a number in a file alone may belong to
# somebody else by now.


def _lock(file: Path) -> int | None:
    """Return a descriptor that holds the lock; None while another process has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_held(file: Path) -> bool:
    descriptor = _lock(file) if file.exists() else None
    if descriptor is not None:
        os.close(descriptor)
    return file.exists() and descriptor is None


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keep every other demo out of the folder.

    Raises:
        InUse
    """
    file = folder / "running" / "demo"
    descriptor = _lock(file)
    if descriptor is None:
        address = _values(folder / "env").get("CONSOLE_URL", "its address")
        raise InUse(
            f"A demo is running in {folder} already (process {file.read_text()}). Use "
            f"it at {address}, or stop it with Ctrl-C first."
        )
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def leftovers(folder: Path) -> dict[str, int]:
    """Return processes, by name, of a demo that was killed before it stopped them."""
    found = {name: folder / "running" / name for name in NAMES}
    return {
        name: int(file.read_text()) for name, file in found.items() if _is_held(file)
    }


def end_leftovers(folder: Path) -> None:
    """End them and their children: asked first, then made to."""
    deadline = time.monotonic() + STOP_SECONDS
    for number in (signal.SIGTERM, signal.SIGKILL):
        for leader in leftovers(folder).values():
            with suppress(ProcessLookupError):
                # Each was started in a group of its own.
                os.killpg(leader, number)
        while leftovers(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        deadline += STOP_SECONDS


def _values(env_file: Path) -> dict[str, str]:
    lines = env_file.read_text().splitlines() if env_file.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def prepare(folder: Path, ports: Ports) -> Installation:
    """Make the folder and its settings; keys are made once and kept."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    (folder / "sandbox").mkdir(exist_ok=True)
    password = folder / "administrator-password"
    if not password.exists():
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(12))
    env_file = folder / "env"
    values = _values(env_file)
    values.setdefault("SECRET_KEY", secrets.token_urlsafe(48))
    values.setdefault(
        "ENCRYPTION_KEYS", "demo:" + base64.b64encode(secrets.token_bytes(32)).decode()
    )
    values["CONSOLE_URL"] = f"http://localhost:{ports.console}"
    # On this computer alone, and for trying: see jamfidp/accounts/checks.py.
    values["SECOND_FACTOR_REQUIRED"] = "0"
    values["ENTRA_SANDBOX_URL"] = f"https://127.0.0.1:{ports.sandbox}"
    values["ENTRA_SANDBOX_CA_FILE"] = str(folder / "sandbox" / "ca.pem")
    env_file.touch(mode=0o600)
    env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return Installation(folder=folder, ports=ports)


def manage(installation: Installation, *arguments: str) -> str:
    """Run one management command to its end and return what it printed."""
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=installation.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DidNotStart(f"manage.py {arguments[0]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def _start(
    installation: Installation,
    name: str,
    command: Sequence[str],
    ready: Callable[[], bool],
) -> None:
    mark = installation.folder / "running" / name
    lock = _lock(mark)
    if lock is None:
        raise DidNotStart(
            f"A {name} of an earlier start still runs (process {mark.read_text()}). "
            "End it first."
        )
    begins = _log_size(installation, name)
    with installation.log(name).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            cwd=settings.BASE_DIR,
            env=installation.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own group: Ctrl-C reaches us alone, and we stop them in order.
            start_new_session=True,
            pass_fds=(lock,),
        )
    mark.write_text(str(process.pid))
    os.close(lock)
    installation.running[name] = process
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = _log_since(installation, name, begins)[-3000:]
            raise DidNotStart(f"The {name} did not start. The end of its log:\n{tail}")
        time.sleep(0.1)


def _log_size(installation: Installation, name: str) -> int:
    """In bytes; what comes after it was written by a later start."""
    log = installation.log(name)
    return log.stat().st_size if log.exists() else 0


def _log_since(installation: Installation, name: str, begins: int) -> str:
    return installation.log(name).read_bytes()[begins:].decode(errors="replace")


def start_sandbox(installation: Installation, *options: str) -> None:
    """Start the sandbox tenant; it keeps what happens in it in its folder."""
    state = installation.folder / "sandbox"
    (state / "sandbox.json").unlink(missing_ok=True)
    console = installation.console_url
    _start(
        installation,
        "sandbox",
        [
            sys.executable,
            "manage.py",
            "entra_sandbox",
            f"--port={installation.ports.sandbox}",
            f"--pages-port={installation.ports.pages}",
            f"--state-dir={state}",
            f"--redirect-uri={console}/connector/consent/",
            f"--redirect-uri={console}/connector/code/",
            f"--redirect-uri={console}/login/entra/callback/",
            f"--redirect-uri={console}/login/entra/signed-out/",
            f"--redirect-uri={console}/connector/signed-out/",
            *options,
        ],
        (state / "sandbox.json").exists,
    )


def start_worker(installation: Installation) -> None:
    """One worker with beat; two processes, both queues."""
    begins = _log_size(installation, "worker")
    _start(
        installation,
        "worker",
        [
            sys.executable,
            "-m",
            "celery",
            "--app=jamfidp",
            "worker",
            "--beat",
            "--concurrency=2",
            "--queues=people,background",
            "--loglevel=INFO",
            f"--schedule={installation.folder / 'celerybeat-schedule'}",
        ],
        lambda: " ready." in _log_since(installation, "worker", begins),
    )


def start_console(installation: Installation) -> None:
    """gunicorn with threads, as in production."""
    session = requests.Session()
    session.trust_env = False
    health = f"{installation.console_url}/health/"

    def answers() -> bool:
        try:
            return session.get(health, timeout=5).ok
        except requests.RequestException:
            return False

    _start(
        installation,
        "console",
        [
            sys.executable,
            "-m",
            "gunicorn",
            "jamfidp.wsgi:application",
            f"--bind=127.0.0.1:{installation.ports.console}",
            "--worker-class=gthread",
            "--workers=1",
            "--threads=8",
            "--access-logfile=-",
            # The path alone: a query string can carry a code.
            "--access-logformat=%(h)s %(m)s %(U)s %(s)s %(B)s %(M)sms",
        ],
        answers,
    )


def stop(installation: Installation, name: str) -> None:
    """End one process: asked first, then made to."""
    process = installation.running.pop(name, None)
    if process is None:
        return
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_SECONDS)
    # Itself, or children that outlived it: celery's beat does when a worker is killed.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def start_everything(
    installation: Installation, say: Callable[[str], None] = lambda line: None
) -> None:
    """From an empty or an earlier folder to a usable console."""
    say("Writing the database schema")
    manage(installation, "migrate", "--no-input", "--verbosity=0")
    say("Collecting the static files")
    manage(installation, "collectstatic", "--no-input", "--verbosity=0")
    say(f"Starting the sandbox tenant on 127.0.0.1:{installation.ports.sandbox}")
    start_sandbox(installation, "--keep")
    say("Writing the demo story: sites, 1,200 devices, policies, profiles")
    manage(installation, "demo_story")
    say("Starting the task worker")
    start_worker(installation)
    say(f"Starting the console on {installation.console_url}")
    start_console(installation)


@contextmanager
def stopped_at_the_end(installation: Installation) -> Iterator[Installation]:
    """Stop whatever was started, the web server first and the sandbox last."""
    try:
        yield installation
    finally:
        for name in NAMES:
            stop(installation, name)
