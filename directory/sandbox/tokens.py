"""Signing keys and the tokens signed with them."""

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

GRAPH_RESOURCE = "https://graph.microsoft.com"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def short_hash(value: str) -> str:
    """Return what stands for a secret wherever one must be told from another."""
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key with its self-signed certificate, as published under /keys."""

    private: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> "SigningKey":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "sandbox.signing.example")]
        )
        start = datetime.now(UTC) - timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=3650))
            .sign(private, hashes.SHA256())
        )
        return cls(private, certificate)

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError("The signing key must be an RSA key.")
        return cls(private, x509.load_pem_x509_certificate(pem))

    def to_pem(self) -> bytes:
        key = self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def kid(self) -> str:
        # Entra's kid is the x5t: the SHA-1 of the certificate.
        return b64url(self.certificate.fingerprint(hashes.SHA1()))  # noqa: S303

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        names = {"kid": self.kid} | (header or {})
        return jwt.encode(claims, self.private, algorithm="RS256", headers=names)

    def jwk(self, issuer: str) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": b64url(numbers.e.to_bytes(3, "big")),
            "x5c": [base64.b64encode(der).decode()],
            "issuer": issuer,
        }


def sign_as_hs256(
    claims: dict[str, Any], header: dict[str, Any], key: SigningKey
) -> str:
    """Sign with the text of a public key as if it were a shared secret."""
    # PyJWT refuses a public key as an HMAC secret, which is the point of this attack.
    public = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = b64url(json.dumps(header | {"alg": "HS256"}).encode())
    signing_input = f"{head}.{b64url(json.dumps(claims).encode())}"
    mac = hmac.new(public, signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{b64url(mac)}"


def pairwise_subject(client_id: str, user_id: str) -> str:
    return b64url(hashlib.sha256(f"{client_id}/{user_id}".encode()).digest())


def unique_token_id() -> str:
    return b64url(secrets.token_bytes(16))


def opaque() -> str:
    """Return a random string of the look of Entra's codes and refresh tokens."""
    return f"1.A{b64url(secrets.token_bytes(96))}"


def uuid_string() -> str:
    return str(uuid.uuid4())
