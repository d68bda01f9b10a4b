"""A security key in software: makes a passkey and signs with it, as a browser would."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

USER_PRESENT, ATTESTED = 0x01, 0x40


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class PasskeyDevice:
    origin: str = "http://localhost:8000"
    count: int = 0
    # A part of the public key that is not told, by its number in COSE.
    left_out: int | None = None
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def create(self, questions: dict[str, Any], **changed: Any) -> str:
        """Answer `navigator.credentials.create`."""
        numbers = self.key.public_key().public_numbers()
        parts: dict[int, Any] = {
            1: 2,
            3: -7,
            -1: 1,
            -2: numbers.x.to_bytes(32, "big"),
            -3: numbers.y.to_bytes(32, "big"),
        }
        if self.left_out is not None:
            del parts[self.left_out]
        public_key = cbor2.dumps(parts)
        attested = (
            bytes(16)
            + struct.pack(">H", len(self.credential_id))
            + self.credential_id
            + public_key
        )
        data = self._data(questions["rp"]["id"], ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer(
            attestationObject=b64(attestation),
            clientDataJSON=self._client("create", questions, changed),
        )

    def sign(self, questions: dict[str, Any], **changed: Any) -> str:
        """Answer `navigator.credentials.get`."""
        self.count += 1
        data = self._data(questions["rpId"], 0)
        client = self._client("get", questions, changed)
        raw = base64.urlsafe_b64decode(client + "=" * (-len(client) % 4))
        signature = self.key.sign(
            data + hashlib.sha256(raw).digest(), ec.ECDSA(hashes.SHA256())
        )
        return self._answer(
            authenticatorData=b64(data), clientDataJSON=client, signature=b64(signature)
        )

    def _data(self, host: str, flags: int) -> bytes:
        return (
            hashlib.sha256(host.encode()).digest()
            + bytes([USER_PRESENT | flags])
            + struct.pack(">I", self.count)
        )

    def _client(
        self, kind: str, questions: dict[str, Any], changed: dict[str, Any]
    ) -> str:
        client = {
            "type": f"webauthn.{kind}",
            "challenge": questions["challenge"],
            "origin": self.origin,
        }
        return b64(json.dumps(client | changed).encode())

    def _answer(self, **response: str) -> str:
        name = b64(self.credential_id)
        return json.dumps(
            {
                "id": name,
                "rawId": name,
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
            }
        )
