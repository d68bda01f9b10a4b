"""Passkeys: what a browser is asked, and whether its answer proves the key.

https://www.w3.org/TR/webauthn-3/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import urlsplit

import webauthn
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.crypto import salted_hmac
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from jamfidp.accounts.models import Passkey, User

LONGEST_ANSWER = 20_000


class PasskeyRefused(Exception):
    """The browser's answer proves no passkey of this account."""

    def __init__(self) -> None:
        super().__init__(
            "The passkey was not accepted. Try again, and choose a passkey that was "
            "made for this console and this account."
        )


def questions_to_create(account: User) -> tuple[str, str]:
    """Return the options for the browser, as JSON, and the challenge to be kept."""
    options = webauthn.generate_registration_options(
        rp_id=_host(),
        rp_name="Device console",
        user_id=salted_hmac("accounts.passkeys", str(account.pk)).digest(),
        user_name=account.username,
        user_display_name=str(account),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=_descriptors(account),
    )
    return webauthn.options_to_json(options), bytes_to_base64url(options.challenge)


def questions_to_sign(account: User) -> tuple[str, str]:
    """Return the options for the browser, as JSON, and the challenge to be kept."""
    options = webauthn.generate_authentication_options(
        rp_id=_host(),
        allow_credentials=_descriptors(account),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return webauthn.options_to_json(options), bytes_to_base64url(options.challenge)


def register(
    account: User, *, name: str, answer: str, challenge: str, now: datetime
) -> Passkey:
    """Keep a new passkey that the browser made.

    Raises:
        PasskeyRefused
    """
    if len(answer) > LONGEST_ANSWER:
        raise PasskeyRefused
    with _refusing():
        proved = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=_host(),
            expected_origin=settings.CONSOLE_URL,
        )
    try:
        with transaction.atomic():
            return Passkey.objects.create(
                account=account,
                name=name.strip()[:100] or "Passkey",
                credential_id=bytes_to_base64url(proved.credential_id),
                public_key=proved.credential_public_key,
                sign_count=proved.sign_count,
                created_at=now,
            )
    except IntegrityError:
        raise PasskeyRefused from None


def check(account: User, *, answer: str, challenge: str, now: datetime) -> Passkey:
    """Return the passkey of the account that signed the challenge.

    Raises:
        PasskeyRefused: also when its counter went back, as a copy's would.
    """
    if len(answer) > LONGEST_ANSWER:
        raise PasskeyRefused
    with _refusing():
        credential = webauthn.helpers.parse_authentication_credential_json(answer)
        name = bytes_to_base64url(credential.raw_id)
    passkey = account.passkeys.filter(credential_id=name).first()
    if passkey is None:
        raise PasskeyRefused
    with _refusing():
        proved = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=_host(),
            expected_origin=settings.CONSOLE_URL,
            credential_public_key=bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
        )
    passkey.sign_count = proved.new_sign_count
    passkey.last_used_at = now
    passkey.save(update_fields=["sign_count", "last_used_at"])
    return passkey


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse whatever the library stumbles over: it reads what a stranger wrote.

    It has errors of its own, and lets others out for bytes that are nearly right.
    """
    try:
        yield
    except Exception:  # noqa: BLE001
        raise PasskeyRefused from None


def _host() -> str:
    return urlsplit(settings.CONSOLE_URL).hostname or ""


def _descriptors(account: User) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(id=base64url_to_bytes(one.credential_id))
        for one in account.passkeys.all()
    ]
