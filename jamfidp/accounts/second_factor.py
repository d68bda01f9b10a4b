"""The second factor of local accounts: who needs one, and whether it is right.

Whoever signs in with Entra has the second factor that their tenant asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from jamfidp import crypto
from jamfidp.accounts import authenticator_app, passkeys, recovery_codes, standing
from jamfidp.accounts.models import (
    AuthenticatorApp,
    Passkey,
    RecoveryCode,
    User,
)
from jamfidp.accounts.throttle import Browser, begin_attempt, failures_of, forget
from jamfidp.history.record import record
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import OWN_ACCOUNT
from jamfidp.notices.models import Severity

# Whoever guesses codes knows the password: six digits are worth a longer wait.
LONGEST_WAIT = timedelta(minutes=15)
GUESSES_WORTH_A_WORD = 5


class CodeRefused(Exception):
    """The code is wrong, was used already, or is no longer valid."""

    def __init__(self, what: str = "") -> None:
        super().__init__(
            what
            or "The code is wrong, or it was used already. The app shows a new one "
            "every half minute."
        )


class StillNeeded(Exception):
    """The last second factor of an account that needs one stays."""

    def __init__(self) -> None:
        super().__init__(
            "This account has Full Access and needs a second factor. Nothing was "
            "removed. Add another one first."
        )


@dataclass(frozen=True, slots=True)
class Factors:
    """What an account has beside its password."""

    app: AuthenticatorApp | None
    passkeys: list[Passkey]
    recovery_codes: int

    @property
    def any(self) -> bool:
        """A recovery code is no factor: it stands in for one."""
        return self.app is not None or bool(self.passkeys)


def of(account: User) -> Factors:
    return Factors(
        app=authenticator_app.confirmed(account),
        passkeys=list(account.passkeys.all()),
        recovery_codes=recovery_codes.left(account),
    )


def holds_full_access(account: User, *, now: datetime) -> bool:
    """Whether the account holds anything everywhere, by itself or by a group."""
    return any(one.site_id is None for one in standing.read(account, now=now).grants)


def is_required(account: User, *, now: datetime) -> bool:
    return (
        account.is_local
        and settings.SECOND_FACTOR_REQUIRED
        and holds_full_access(account, now=now)
    )


def check_code(
    account: User, code: str, *, browser: Browser, address: str | None, now: datetime
) -> str:
    """Take a code of the authenticator app; return what it is called.

    Raises:
        CodeRefused, TooManyFailures
    """
    app = authenticator_app.confirmed(account)

    def right() -> bool:
        try:
            return app is not None and authenticator_app.take(app, code, now=now)
        except (crypto.KeyUnavailable, crypto.DecryptionFailed):
            raise CodeRefused(
                "The console cannot read the secret of your authenticator app: its "
                "encryption key is missing. Use a passkey or a recovery code, or ask "
                "whoever operates the console."
            ) from None

    _try(account, right, CodeRefused(), browser=browser, address=address, now=now)
    return "authenticator app"


def check_recovery_code(
    account: User, code: str, *, browser: Browser, address: str | None, now: datetime
) -> str:
    """Use a recovery code up; return what it is called. Its account is told.

    Raises:
        CodeRefused, TooManyFailures
    """
    _try(
        account,
        lambda: recovery_codes.take(account, code, now=now),
        CodeRefused("This is no recovery code of yours, or it was used already."),
        browser=browser,
        address=address,
        now=now,
    )
    left = recovery_codes.left(account)
    tell(
        account,
        title=f"A recovery code of {account.username} was used",
        body=f"It took the place of the second factor{_from(address)}. {left} "
        f"{'is' if left == 1 else 'are'} left.",
        now=now,
    )
    return "recovery code"


def check_passkey(
    account: User,
    *,
    answer: str,
    challenge: str,
    browser: Browser,
    address: str | None,
    now: datetime,
) -> str:
    """Return what the passkey that signed the challenge is called.

    Raises:
        PasskeyRefused, TooManyFailures
    """

    def right() -> bool:
        passkeys.check(account, answer=answer, challenge=challenge, now=now)
        return True

    _try(
        account,
        right,
        passkeys.PasskeyRefused(),
        browser=browser,
        address=address,
        now=now,
    )
    return "passkey"


def _try(
    account: User,
    right: Callable[[], bool],
    refused: Exception,
    *,
    browser: Browser,
    address: str | None,
    now: datetime,
) -> None:
    attempt = begin_attempt(
        username=_throttled_as(account),
        account_id=account.pk,
        browser=browser,
        address=address,
        now=now,
        longest=LONGEST_WAIT,
    )
    try:
        if not right():
            raise refused
    except passkeys.PasskeyRefused:
        _refused(account, address=address, now=now)
        raise
    except CodeRefused:
        _refused(account, address=address, now=now)
        raise
    attempt.delete()


def _throttled_as(account: User) -> str:
    # No user name holds a line end.
    return f"second factor of\n{account.pk}"


@transaction.atomic
def _refused(account: User, *, address: str | None, now: datetime) -> None:
    record(
        obj=account,
        actor=None,
        action="refused",
        note=f"Refused a second factor after the right password{_from(address)}.",
        now=now,
    )
    if failures_of(_throttled_as(account), now=now) >= GUESSES_WORTH_A_WORD:
        tell(
            account,
            title=f"Somebody who knows the password of {account.username} has no "
            "second factor",
            body=f"Second factors were refused {GUESSES_WORTH_A_WORD} times and more, "
            f"the last time{_from(address)}. If it was not you, change your password.",
            key=f"guessed-second-factor/{account.pk}/{now:%Y-%m-%d}",
            now=now,
        )


def forget_refusals(account: User) -> int:
    """Let the next second factor not wait; return how many were refused."""
    return forget(_throttled_as(account))


def tell(account: User, *, title: str, body: str, now: datetime, key: str = "") -> None:
    """Tell the account's owner of a change to how they sign in."""
    announce(
        kind=OWN_ACCOUNT,
        severity=Severity.WARNING,
        title=title,
        body=body,
        link=reverse("accounts:how-i-sign-in"),
        about=account,
        accounts=[account],
        key=key,
        now=now,
    )


# --- Changes --------------------------------------------------------------------


@transaction.atomic
def confirm_app(account: User, code: str, *, now: datetime) -> None:
    """Let the new authenticator app count, having seen a code; it replaces another.

    Raises:
        CodeRefused
    """
    app = authenticator_app.pending(account)
    if app is None or not authenticator_app.take(app, code, now=now):
        raise CodeRefused
    AuthenticatorApp.objects.filter(
        account=account, confirmed_at__isnull=False
    ).delete()
    app.confirmed_at = now
    app.save(update_fields=["confirmed_at"])
    _changed(account, "Added an authenticator app", actor=account, now=now)


@transaction.atomic
def add_passkey(
    account: User, *, name: str, answer: str, challenge: str, now: datetime
) -> Passkey:
    """Keep a new passkey. Raises PasskeyRefused."""
    passkey = passkeys.register(
        account, name=name, answer=answer, challenge=challenge, now=now
    )
    _changed(account, f"Added the passkey {passkey}", actor=account, now=now)
    return passkey


@transaction.atomic
def remove(factor: AuthenticatorApp | Passkey, *, actor: User, now: datetime) -> None:
    """Remove one second factor. Raises StillNeeded."""
    account = factor.account
    name = str(factor) if isinstance(factor, AuthenticatorApp) else f"passkey {factor}"
    factor.delete()
    if not of(account).any and is_required(account, now=now):
        raise StillNeeded
    _without_factors(account)
    _changed(account, f"Removed the {name.lower()}", actor=actor, now=now)


@transaction.atomic
def remove_all(account: User, *, actor: User | None, now: datetime) -> bool:
    """Remove every factor and recovery code; tell whether there were any.

    Where one is needed, the next sign-in asks for a new one. `actor` None: whoever
    operates the console's server.
    """
    had = of(account)
    AuthenticatorApp.objects.filter(account=account).delete()
    Passkey.objects.filter(account=account).delete()
    RecoveryCode.objects.filter(account=account).delete()
    if not had.any and not had.recovery_codes:
        return False
    _changed(account, "Removed all second factors", actor=actor, now=now)
    return True


def _without_factors(account: User) -> None:
    """Recovery codes stand in for a factor: without one they open nothing."""
    if not of(account).any:
        RecoveryCode.objects.filter(account=account).delete()


@transaction.atomic
def new_recovery_codes(account: User, *, now: datetime) -> list[str]:
    """Return new recovery codes, for showing once."""
    codes = recovery_codes.make(account, now=now)
    _changed(account, "Made new recovery codes", actor=account, now=now)
    return codes


def _changed(account: User, what: str, *, actor: User | None, now: datetime) -> None:
    record(obj=account, actor=actor, action="changed", note=f"{what}.", now=now)
    by = "" if actor is None or actor.pk == account.pk else f" by {actor}"
    place = " from the console's server" if actor is None else by
    tell(
        account,
        title=f"How {account.username} signs in was changed",
        body=f"{what}{place}. If it was not you, tell another administrator.",
        now=now,
    )


def _from(address: str | None) -> str:
    return f" from {address}" if address else ""
