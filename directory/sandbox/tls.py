"""The sandbox's local certificate authority and server certificate."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509

# TLS 1.2 with forward secrecy only; TLS 1.3 always has it.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_RENEW_BEFORE = timedelta(days=30)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    temporary.replace(path)


def prepare(state_dir: Path) -> tuple[Path, Path]:
    """Return (CA certificate, server certificate with key), made if missing.

    The authority lasts as long as the folder: what trusts it once goes on trusting
    it after a restart.
    """
    ca_file, ca_key = state_dir / "ca.pem", state_dir / "ca-key.pem"
    server_file = state_dir / "server.pem"
    if ca_file.exists() and ca_key.exists():
        authority = trustme.CA.from_pem(ca_file.read_bytes(), ca_key.read_bytes())
    else:
        authority = trustme.CA(
            organization_name="Sandbox tenant",
            organization_unit_name="Local certificate authority, for tests only",
        )
        write_private(ca_key, authority.private_key_pem.bytes())
        write_private(ca_file, authority.cert_pem.bytes())
        server_file.unlink(missing_ok=True)
    if not server_file.exists() or _ends_soon(server_file):
        leaf = authority.issue_cert("127.0.0.1", "localhost")
        write_private(server_file, leaf.private_key_and_cert_chain_pem.bytes())
    return ca_file, server_file


def _ends_soon(server_file: Path) -> bool:
    certificate = x509.load_pem_x509_certificates(server_file.read_bytes())[0]
    return certificate.not_valid_after_utc - datetime.now(UTC) < _RENEW_BEFORE
