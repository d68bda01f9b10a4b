"""How fast the sandbox serves: against a static server of the same pages over TLS.

Both are read by the same plain reader, http.client and orjson, in turns, so that the
machine's moods meet both.
"""

import gzip
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

Say = Callable[[str], None]
_SELECTED = {
    "users": "displayName,givenName,surname,userPrincipalName,mail,accountEnabled,"
    "userType,department,jobTitle,mobilePhone,officeLocation,employeeId",
    "groups": "displayName,description,mail,mailNickname,groupTypes,securityEnabled,"
    "visibility,members",
}
_STARTS = {
    kind: f"/v1.0/{kind}/delta?$select={names}" for kind, names in _SELECTED.items()
}
_ENCODINGS = ("identity", "gzip")
_CHANGES = (0, 10, 100, 900, 9_000, 90_000)
_START_SECONDS = 300


class Running:
    """A sandbox in a process of its own, ready to be asked."""

    def __init__(self, state_dir: Path, command: list[str]) -> None:
        ready = state_dir / "sandbox.json"
        began = time.perf_counter()
        self.process = subprocess.Popen([*command, f"--state-dir={state_dir}"])  # noqa: S603 our own command
        while not ready.exists():
            if self.process.poll() is not None:
                raise RuntimeError("The sandbox did not start; see above.")
            time.sleep(0.005)
        self.start_seconds = time.perf_counter() - began
        self.facts = json.loads(ready.read_bytes())
        self.tenant = self.facts["tenants"][0]["id"]
        self.certificate = state_dir / "server.pem"
        self.trusted = ssl.create_default_context(cafile=self.facts["ca_file"])

    def megabytes(self) -> str:
        """Return resident memory: of its own, and with what files are mapped."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return "memory unknown here"
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        own, mapped = (
            int(fields[name].split()[0]) // 1024 for name in ("RssAnon", "VmRSS")
        )
        return f"{own} MB of its own, {mapped} MB with mapped files"

    def connect(self, port: int | None = None) -> http.client.HTTPSConnection:
        address = urlsplit(self.facts["url"])
        return http.client.HTTPSConnection(
            "127.0.0.1", port or address.port, context=self.trusted
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return _json(
            self.connect(),
            method,
            f"/control/{path}",
            orjson.dumps(body or {}),
            {"X-Sandbox-Key": self.facts["control_key"]},
        )

    def token(self) -> str:
        application = self.facts["application"]
        consent = f"tenants/{self.tenant}/consents/{application['client_id']}"
        self.control("PUT", consent)
        form = {
            "grant_type": "client_credentials",
            "client_id": application["client_id"],
            "client_secret": application["client_secret"],
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = _json(
            self.connect(),
            "POST",
            f"/{self.tenant}/oauth2/v2.0/token",
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        return str(answer["access_token"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def _json(
    connection: http.client.HTTPSConnection,
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
) -> Any:
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {target}: {answer.status} {content[:500]!r}")
    return orjson.loads(content)


class Reader:
    """The plainest reader there is: one connection, one page after the other."""

    def __init__(
        self, connection: http.client.HTTPSConnection, token: str, encoding: str
    ) -> None:
        self._connection = connection
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept-Encoding": encoding,
        }
        self.kept: dict[str, bytes] | None = None
        self.entries = 0
        self.link = ""

    def seconds(self, start: str) -> float:
        """Read a round to its end; the time counts reading and parsing."""
        self.entries = 0
        began = time.perf_counter()
        target = start
        while target:
            page = self._page(target)
            self.entries += len(page["value"])
            self.link = page.get("@odata.deltaLink", "")
            target = _target(page.get("@odata.nextLink", ""))
        return time.perf_counter() - began

    def _page(self, target: str) -> Any:
        self._connection.request("GET", target, headers=self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{target}: {answer.status} {content[:500]!r}")
        if self.kept is not None:
            self.kept[target] = content
        if answer.headers["content-encoding"] == "gzip":
            content = gzip.decompress(content)
        return orjson.loads(content)


def _target(link: str) -> str:
    return link[link.index("/v1.0/") :] if link else ""


@contextmanager
def _static(
    sandbox: Running, pages: dict[str, bytes], encoding: str
) -> Iterator[http.client.HTTPSConnection]:
    """Serve pages that were read from the sandbox, in a process of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder, index = Path(name), {}
        for number, (target, body) in enumerate(pages.items()):
            index[target] = str(number)
            head = (
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                f"content-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            (folder / str(number)).write_bytes(head.encode() + body)
        (folder / "index.json").write_bytes(orjson.dumps(index))
        process = subprocess.Popen(  # noqa: S603 our own module
            [
                sys.executable,
                "-m",
                "directory.sandbox.static_pages",
                folder,
                sandbox.certificate,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None  # noqa: S101 it is a pipe
            try:
                yield sandbox.connect(int(process.stdout.readline()))
            finally:
                process.terminate()


def run(command: list[str], *, rounds: int, say: Say) -> None:
    """Measure a sandbox that ``command`` starts, and say what was found.

    Raises RuntimeError when it does not start, or refuses a read.
    """
    with tempfile.TemporaryDirectory() as name:
        cold = Running(Path(name), command)
        say(f"start, cold    {cold.start_seconds:6.2f} s  {cold.megabytes()}")
        cold.stop()
        sandbox = Running(Path(name), command)
        say(f"start, warm    {sandbox.start_seconds:6.2f} s  {sandbox.megabytes()}")
        try:
            _measure(sandbox, rounds, say)
        finally:
            sandbox.stop()


def _measure(sandbox: Running, rounds: int, say: Say) -> None:
    facts = sandbox.control("GET", f"tenants/{sandbox.tenant}")
    say(
        f"tenant         {facts['users']:,} users, {facts['groups']:,} groups, "
        f"{facts['memberships']:,} memberships"
    )
    sandbox.control("PATCH", "behavior", {"throttling": False})
    token = sandbox.token()
    for encoding in _ENCODINGS:
        _compare(sandbox, token, encoding, rounds, say)
    say(f"memory         after these reads: {sandbox.megabytes()}")
    _follow(sandbox, token, [each for each in _CHANGES if each < facts["users"]], say)


def _compare(
    sandbox: Running, token: str, encoding: str, rounds: int, say: Say
) -> None:
    """Read everything of the sandbox and of a static server, in turns."""
    reader = Reader(sandbox.connect(), token, encoding)
    pages: dict[str, bytes] = {}
    reader.kept = pages
    first = sum(map(reader.seconds, _STARTS.values()))
    reader.kept = None
    times: dict[str, list[float]] = {"sandbox": [], "static": []}
    with _static(sandbox, pages, encoding) as connection:
        readers = {"sandbox": reader, "static": Reader(connection, token, encoding)}
        for _ in range(rounds):
            for name, each in readers.items():
                times[name].append(sum(map(each.seconds, _STARTS.values())))
    ours, least = (statistics.median(times[name]) for name in ("sandbox", "static"))
    size = sum(map(len, pages.values())) / 1e6
    say(
        f"read, {encoding:<9}{ours:6.2f} s  static server {least:.2f} s, "
        f"ratio {ours / least:.2f}; medians of {rounds}\n"
        f"               {len(pages):,} pages, {size:.1f} MB; "
        f"the first time {first:.2f} s, ratio {first / least:.2f}"
    )


def _follow(sandbox: Running, token: str, counts: list[int], say: Say) -> None:
    """Change more and more people and read what changed."""
    reader = Reader(sandbox.connect(), token, "identity")
    reader.seconds(f"{_STARTS['users']}&$deltatoken=latest")
    for count in counts:
        body = {"count": count, "properties": {"jobTitle": "Moved {n}"}}
        began = time.perf_counter()
        sandbox.control("POST", f"tenants/{sandbox.tenant}/bulk/change-users", body)
        made = time.perf_counter() - began
        told = reader.seconds(_target(reader.link))
        say(
            f"changes        {count:>6,} made in {made * 1000:8.1f} ms, "
            f"{reader.entries:,} told in {told * 1000:8.1f} ms"
        )
