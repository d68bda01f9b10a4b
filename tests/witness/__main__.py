"""Drive the sandbox with Microsoft's own libraries, unmodified; one line a check.

`make witness` installs them into var/witness, apart from the console's own, and runs
this. It needs nothing of the console but `manage.py entra_sandbox`.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
INSTALLED = ROOT / "var" / "witness"
REDIRECT_URI = "http://localhost:8000/login/entra/callback/"
START_SECONDS = 60
PYTHON = str(INSTALLED / "venv/bin/python")
WITNESSES = (
    ("msal", [PYTHON, "-m", "tests.witness.msal_witness"]),
    (
        "azure-identity and msgraph-sdk",
        [PYTHON, "-m", "tests.witness.graph_witness"],
    ),
    ("@azure/msal-node", ["node", str(HERE / "msal_node_witness.cjs")]),
)


class Sandbox:
    """A sandbox tenant in a process of its own."""

    def __init__(self, folder: Path) -> None:
        ready = folder / "sandbox.json"
        environment = {
            **os.environ,
            "ENV_FILE": os.devnull,
            "SECRET_KEY": "for-witnesses-only-" + "0123456789abcdef" * 3,
        }
        with (folder / "sandbox.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "manage.py",
                    "entra_sandbox",
                    "--port=0",
                    "--pages-port=0",
                    f"--state-dir={folder}",
                    f"--redirect-uri={REDIRECT_URI}",
                ],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(
                    "The sandbox did not start:\n"
                    + (folder / "sandbox.log").read_text()
                )
            time.sleep(0.05)
        self.facts: dict[str, Any] = json.loads(ready.read_text())
        context = ssl.create_default_context(cafile=self.facts["ca_file"])
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        request = Request(  # noqa: S310 an address of our own
            f"{self.facts['url']}/control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Sandbox-Key": self.facts["control_key"]},
        )
        with self._opener.open(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def certificate() -> tuple[str, str]:
    """Return a private key and its certificate in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "witness")])
    start = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private.decode(), made.public_bytes(serialization.Encoding.PEM).decode()


def prepare(sandbox: Sandbox, folder: Path) -> None:
    """Consent, register a certificate, and write down what the witnesses are told."""
    facts = sandbox.facts
    client_id, tenant = facts["application"]["client_id"], facts["tenants"][0]
    sandbox.control("PUT", f"tenants/{tenant['id']}/consents/{client_id}", {})
    # Several pages in each round, groups in several slices.
    sandbox.control("PATCH", "behavior", {"delta_page_size": 50, "member_slice": 100})
    private, public = certificate()
    sandbox.control("POST", f"applications/{client_id}/certificates", {"pem": public})
    issuer, subject = "https://cluster.example", "system:serviceaccount:console:worker"
    sandbox.control("POST", "issuers", {"issuer": issuer})
    workload = {"issuer": issuer, "subject": subject}
    sandbox.control("POST", f"applications/{client_id}/federated", workload)
    assertion = sandbox.control("POST", "issuers/assertion", workload)["assertion"]
    told = {
        **facts,
        "tenant": tenant,
        "redirect_uri": REDIRECT_URI,
        "private_key": private,
        "certificate": public,
        "assertion": assertion,
    }
    path = folder / "witness.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(told))


def main() -> int:
    failed = []
    with tempfile.TemporaryDirectory(prefix="witness-") as name:
        folder = Path(name)
        sandbox = Sandbox(folder)
        try:
            prepare(sandbox, folder)
            environment = {
                name: value
                for name, value in os.environ.items()
                if not name.lower().endswith("_proxy")
            } | {
                "WITNESS": str(folder / "witness.json"),
                "NODE_PATH": str(INSTALLED / "node_modules"),
                "NODE_EXTRA_CA_CERTS": sandbox.facts["ca_file"],
            }
            for title, command in WITNESSES:
                done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
                if done.returncode:
                    failed.append(title)
        finally:
            sandbox.stop()
    print(f"Witnesses that object: {', '.join(failed)}" if failed else "All agree.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
