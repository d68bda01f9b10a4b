"""Codes of an authenticator app: made, checked, and each taken once.

https://www.rfc-editor.org/rfc/rfc6238
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

import pyotp
import segno
from django.conf import settings
from django.db import transaction
from pyotp.utils import strings_equal

from jamfidp import crypto
from jamfidp.accounts.models import AuthenticatorApp, User

# A clock may be off by half a minute in each direction.
STEPS_OFF = 1
DIGITS = 6


def seal(app: AuthenticatorApp, secret: str) -> str:
    return crypto.encrypt(
        secret, model=AuthenticatorApp._meta.label_lower, pk=str(app.pk), field="secret"
    )


def secret_of(app: AuthenticatorApp) -> str:
    """Return the shared secret, in base32.

    Raises:
        crypto.KeyUnavailable, crypto.DecryptionFailed
    """
    return crypto.decrypt(
        app.secret_sealed,
        model=AuthenticatorApp._meta.label_lower,
        pk=str(app.pk),
        field="secret",
    )


@transaction.atomic
def begin(account: User, *, now: datetime) -> AuthenticatorApp:
    """Make a secret that counts once a code of it was seen; an earlier try is void.

    Raises:
        crypto.KeyUnavailable: no encryption key is configured.
    """
    AuthenticatorApp.objects.filter(account=account, confirmed_at=None).delete()
    app = AuthenticatorApp(account=account, created_at=now)
    app.secret_sealed = seal(app, pyotp.random_base32())
    app.save(force_insert=True)
    return app


def pending(account: User) -> AuthenticatorApp | None:
    return AuthenticatorApp.objects.filter(account=account, confirmed_at=None).first()


def confirmed(account: User) -> AuthenticatorApp | None:
    return AuthenticatorApp.objects.filter(
        account=account, confirmed_at__isnull=False
    ).first()


def address_for(app: AuthenticatorApp) -> str:
    """The address that the app reads from the picture."""
    host = urlsplit(settings.CONSOLE_URL).hostname or "console"
    return pyotp.TOTP(secret_of(app)).provisioning_uri(
        name=app.account.username, issuer_name=f"Device console {host}"
    )


def picture_of(address: str) -> str:
    """The QR code as SVG, without style: the policy of the pages allows none."""
    return segno.make(address, error="m").svg_inline(
        scale=4, border=4, svgclass="qr", lineclass=None, omitsize=True, light="#fff"
    )


def take(app: AuthenticatorApp, code: str, *, now: datetime) -> bool:
    """Tell whether the code is right and was not taken before; take it.

    Raises:
        crypto.KeyUnavailable, crypto.DecryptionFailed
    """
    plain = "".join(code.split())
    if len(plain) != DIGITS or not (plain.isascii() and plain.isdigit()):
        return False
    totp = pyotp.TOTP(secret_of(app))
    current = totp.timecode(now)
    for step in range(current - STEPS_OFF, current + STEPS_OFF + 1):
        if strings_equal(plain, totp.generate_otp(step)):
            # One of two who send the same code at once gets it.
            taken = AuthenticatorApp.objects.filter(pk=app.pk, last_step__lt=step)
            return bool(taken.update(last_step=step, last_used_at=now))
    return False


@transaction.atomic
def reencrypt() -> crypto.Resealed:
    """Seal every secret with the first key of ENCRYPTION_KEYS.

    What cannot be read stays as it is: its key may come back.

    Raises:
        crypto.KeyUnavailable: no key is configured.
    """
    moved = kept = unreadable = 0
    for app in AuthenticatorApp.objects.select_for_update():
        if crypto.is_sealed_with_newest_key(app.secret_sealed):
            kept += 1
            continue
        try:
            app.secret_sealed = seal(app, secret_of(app))
        except (crypto.KeyUnavailable, crypto.DecryptionFailed):
            unreadable += 1
            continue
        moved += 1
        app.save(update_fields=["secret_sealed"])
    return crypto.Resealed(moved=moved, kept=kept, unreadable=unreadable)
