"""Signing keys and the tokens signed with them."""

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from directory.sandbox import tls

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


class KeyRing:
    """The published keys; the first one signs. Kept in the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "signing-key.pem"
        if self._file.exists():
            self.keys = [SigningKey.from_pem(self._file.read_bytes())]
        else:
            self.keys = [SigningKey.new()]
            self._save()
        self._seen: dict[str, dict[str, Any]] = {}

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with a new key from now on; the old one stays published if asked."""
        self.keys = [SigningKey.new(), *(self.keys if keep_old else [])]
        self._seen.clear()
        self._save()

    def _save(self) -> None:
        tls.write_private(self._file, self.keys[0].to_pem())

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        key = self.keys[0]
        return jwt.encode(
            claims,
            key.private,
            algorithm="RS256",
            headers={"kid": key.kid, "x5t": key.kid} | (header or {}),
        )

    def sign_forged(
        self, claims: dict[str, Any], header: dict[str, Any], signed_by: str
    ) -> str:
        """Make a token that a client has to refuse.

        ``signed_by`` is 'published' (the right key), 'unknown' (a key nobody
        publishes), 'none' (no signature) or 'hmac' (HS256 with the public key's
        text as its secret).
        """
        head = {"typ": "JWT", "kid": self.keys[0].kid} | header
        match signed_by:
            case "published":
                return self.sign(claims, header)
            case "unknown":
                other = SigningKey.new().private
                return jwt.encode(claims, other, algorithm="RS256", headers=head)
            case "none":
                return jwt.encode(
                    claims, "", algorithm="none", headers=head | {"alg": "none"}
                )
            case "hmac":
                return _hs256_with_public_key(claims, head, self.keys[0])
            case _:
                raise ValueError(f"'{signed_by}' is no way to sign a forged token.")

    def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a token this sandbox signed; times are not checked.

        Raises: jwt.InvalidTokenError.
        """
        claims = self._seen.get(token)
        if claims is None:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next((key for key in self.keys if key.kid == kid), self.keys[0])
            claims = jwt.decode(
                token,
                key.private.public_key(),
                algorithms=["RS256"],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            if len(self._seen) > 1000:
                self._seen.clear()
            self._seen[token] = claims
        return claims


def _hs256_with_public_key(
    claims: dict[str, Any], header: dict[str, Any], key: SigningKey
) -> str:
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
