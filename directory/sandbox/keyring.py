"""The keys that sign tokens: published, retired, of another issuer, of consumers."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import jwt

from directory.sandbox import tls
from directory.sandbox.tokens import SigningKey, sign_as_hs256


class KeyState(StrEnum):
    """``NEXT`` is published before it signs, ``RETIRED`` is published no more."""

    SIGNING = "signing"
    PUBLISHED = "published"
    NEXT = "next"
    RETIRED = "retired"
    PERSONAL = "personal accounts"


@dataclass(slots=True)
class KnownKey:
    """A key; ``issuer`` is the one it is published for, where that is not ours."""

    key: SigningKey
    state: KeyState
    issuer: str = ""

    @property
    def is_published(self) -> bool:
        return self.state in (KeyState.SIGNING, KeyState.PUBLISHED, KeyState.NEXT)


class KeyRing:
    """Every key there was. Kept in the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "signing-keys.json"
        if self._file.exists():
            self.known = [
                KnownKey(
                    SigningKey.from_pem(entry["pem"].encode()),
                    KeyState(entry["state"]),
                    entry["issuer"],
                )
                for entry in json.loads(self._file.read_text())
            ]
        else:
            self.known = [
                KnownKey(SigningKey.new(), KeyState.SIGNING),
                KnownKey(SigningKey.new(), KeyState.PERSONAL),
            ]
            self._save()
        self._seen: dict[str, dict[str, Any]] = {}

    def reset(self) -> None:
        """Publish the signing key alone; what came and went meanwhile is forgotten."""
        self.put(
            [
                known
                for known in self.known
                if known.state in (KeyState.SIGNING, KeyState.PERSONAL)
            ]
        )

    def put(self, known: list[KnownKey]) -> None:
        """Make these the keys, as a snapshot holds them."""
        if known != self.known:
            self.known = known
            self._changed()

    def taken(self) -> list[KnownKey]:
        return [KnownKey(each.key, each.state, each.issuer) for each in self.known]

    @property
    def signing(self) -> SigningKey:
        return next(
            known.key for known in self.known if known.state is KeyState.SIGNING
        )

    def add(self, *, issuer: str = "") -> SigningKey:
        """Publish a key that does not sign, for another issuer if one is named."""
        state = KeyState.PUBLISHED if issuer else KeyState.NEXT
        self.known.append(KnownKey(SigningKey.new(), state, issuer))
        self._changed()
        return self.known[-1].key

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with the next key, or a new one; the old one stays published if asked."""
        for known in self.known:
            if known.state is KeyState.SIGNING:
                known.state = KeyState.PUBLISHED
            if known.state is KeyState.PUBLISHED and not keep_old:
                known.state = KeyState.RETIRED
        waiting = [known for known in self.known if known.state is KeyState.NEXT]
        if waiting:
            waiting[0].state = KeyState.SIGNING
        else:
            self.known.insert(0, KnownKey(SigningKey.new(), KeyState.SIGNING))
        self._changed()

    def retire(self, kid: str) -> None:
        """Publish a key no more. Raises KeyError; ValueError for the signing key."""
        known = self._find(kid)
        if known.state in (KeyState.SIGNING, KeyState.PERSONAL):
            raise ValueError("The key that signs cannot be retired: rotate first.")
        known.state = KeyState.RETIRED
        self._changed()

    def published(self) -> list[KnownKey]:
        order = (KeyState.SIGNING, KeyState.PUBLISHED, KeyState.NEXT)
        found = [known for known in self.known if known.is_published]
        return sorted(found, key=lambda known: order.index(known.state))

    def personal(self) -> SigningKey:
        return next(
            known.key for known in self.known if known.state is KeyState.PERSONAL
        )

    def can_sign_as(self, signed_by: str) -> bool:
        """Say whether ``sign_forged`` has a key for it."""
        if signed_by in ("published", "unknown", "none", "hmac"):
            return True
        return any(
            known.key.kid == signed_by
            or (signed_by == "retired" and known.state is KeyState.RETIRED)
            for known in self.known
        )

    def _find(self, kid: str) -> KnownKey:
        for known in self.known:
            if known.key.kid == kid:
                return known
        raise KeyError(kid)

    def _changed(self) -> None:
        self._seen.clear()
        self._save()

    def _save(self) -> None:
        content = [
            {
                "pem": known.key.to_pem().decode(),
                "state": known.state,
                "issuer": known.issuer,
            }
            for known in self.known
        ]
        tls.write_private(self._file, json.dumps(content, indent=1).encode())

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign an access token, whose header names the certificate too."""
        key = self.signing
        return key.sign(claims, {"x5t": key.kid})

    def sign_forged(
        self, claims: dict[str, Any], header: dict[str, Any], signed_by: str
    ) -> str:
        """Make a token that a client has to refuse.

        ``signed_by`` is 'published' (the right key), 'unknown' (a key nobody
        publishes), 'retired' (one that was published), 'none' (no signature), 'hmac'
        (HS256 with the public key's text as its secret), or a key's id. Raises
        KeyError when there is none, as after a reset.
        """
        right = self.signing
        match signed_by:
            case "published":
                return right.sign(claims, header)
            case "unknown":
                # It claims to be the right one: only the signature tells.
                return SigningKey.new().sign(claims, {"kid": right.kid} | header)
            case "retired":
                found = [each for each in self.known if each.state is KeyState.RETIRED]
                if not found:
                    raise KeyError("retired")
                return found[-1].key.sign(claims, header)
            case "none":
                head = {"typ": "JWT", "kid": right.kid, "alg": "none"} | header
                return jwt.encode(claims, "", algorithm="none", headers=head)
            case "hmac":
                return sign_as_hs256(
                    claims, {"typ": "JWT", "kid": right.kid} | header, right
                )
            case kid:
                return self._find(kid).key.sign(claims, header)

    def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a token a published key signed; times are not checked.

        Raises: jwt.InvalidTokenError.
        """
        claims = self._seen.get(token)
        if claims is None:
            kid = jwt.get_unverified_header(token).get("kid")
            trusted = [
                known.key
                for known in self.known
                if known.state is not KeyState.RETIRED and not known.issuer
            ]
            key = next((key for key in trusted if key.kid == kid), trusted[0])
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
