"""The audit of dependencies, with advisory services on this machine."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.audit import __main__ as audit
from tests.audit.__main__ import Audit, Said, of_npm, of_pip_audit, verdict

LOCK = "amqp==5.4.2 \\\n    --hash=sha256:aa\nDjango[argon2]==5.2.1\n"
NPM_LOCK: dict[str, Any] = {
    "packages": {"": {}, "node_modules/uplot": {}, "node_modules/x": {}}
}


def dependency(name: str, version: str, *vulns: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": version, "vulns": list(vulns)}


def pip_audit(*dependencies: dict[str, Any]) -> Said:
    return Said(json.dumps({"dependencies": dependencies, "fixes": []}), "")


KNOWN = {"id": "PYSEC-1", "fix_versions": ["5.2.2"], "aliases": [], "description": ""}


def test_every_package_of_a_lock_has_to_be_answered() -> None:
    found = of_pip_audit("lock", LOCK, pip_audit(dependency("amqp", "5.4.2")))

    assert (found.packages, found.not_audited) == (2, ["django 5.2.1"])


def test_what_is_vulnerable_is_named_with_its_advisory() -> None:
    said = pip_audit(dependency("amqp", "5.4.2"), dependency("Django", "5.2.1", KNOWN))

    found = of_pip_audit("lock", LOCK, said)

    assert found.vulnerable == ["django 5.2.1: PYSEC-1, fixed in 5.2.2"]
    assert found.not_audited == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said("", "Traceback\nConnectionError: no such host"), "ConnectionError: no"),
        (Said("<html>", ""), "said nothing"),
        (
            pip_audit(
                {"name": "amqp", "skip_reason": "not found"},
                dependency("django", "5.2.1"),
            ),
            "amqp: not found",
        ),
    ],
    ids=["unreachable", "something else", "skipped"],
)
def test_what_could_not_be_audited_says_why(said: Said, reason: str) -> None:
    found = of_pip_audit("lock", LOCK, said)

    assert reason in found.not_audited[0]


def npm(total: int, **vulnerabilities: Any) -> Said:
    metadata = {"dependencies": {"total": total}}
    return Said(
        json.dumps({"vulnerabilities": vulnerabilities, "metadata": metadata}), ""
    )


def test_npm_has_to_count_every_package() -> None:
    assert of_npm("lock", NPM_LOCK, npm(2)).not_audited == []
    assert of_npm("lock", NPM_LOCK, npm(1)).not_audited == ["1 of 2 packages"]


def test_a_registry_that_does_not_audit_is_told() -> None:
    said = Said(json.dumps({"message": "405 Method Not Allowed", "method": "POST"}), "")

    assert of_npm("lock", NPM_LOCK, said).not_audited == ["405 Method Not Allowed"]


def test_the_verdict_of_the_worst_counts() -> None:
    fine = Audit("fine", packages=3)
    bad = Audit("bad", vulnerable=["x"])
    unknown = Audit("unknown", not_audited=["y"])

    assert verdict([fine])[1] == 0
    assert verdict([fine, bad])[1] == 1
    words, code = verdict([fine, bad, unknown])
    assert (code, "unknown" in words) == (2, True)


class Advisories(BaseHTTPRequestHandler):
    """A registry's advisories; `knows` says what it has heard of."""

    knows: dict[str, str] = {}

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        body = json.dumps(
            {
                name: [
                    {
                        "id": 1,
                        "url": "https://advisories.example/1",
                        "title": "Pollution",
                        "severity": "critical",
                        "vulnerable_versions": self.knows[name],
                    }
                ]
                for name in json.loads(raw)
                if name in self.knows
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Nothing is published here, so nothing is offered as a mend."""
        self.send_error(404)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[type[Advisories]]:
    if shutil.which("npm") is None and not (audit.ROOT / ".venv/bin/npm").exists():
        pytest.skip("npm is not installed")
    kind = type("Registry", (Advisories,), {"knows": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path))
    monkeypatch.setattr(audit, "NPM_FOLDERS", (".",))
    yield kind
    server.shutdown()
    server.server_close()


def test_npm_itself_tells_what_a_registry_knows(registry: type[Advisories]) -> None:
    registry.knows = {"minimist": "<0.2.4", "uplot": "*"}

    [found] = audit.npm_audits()

    assert found.vulnerable == ["uplot (critical): https://advisories.example/1"]
    assert found.not_audited == []


def test_a_registry_that_knows_nothing_has_audited_nothing(
    registry: type[Advisories],
) -> None:
    [found] = audit.npm_audits()

    assert "does not know that minimist 0.0.8" in found.not_audited[0]
