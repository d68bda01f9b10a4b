"""Signing in with a user name and a password kept by this console."""

from datetime import datetime

from django.db import transaction

from jamfidp.accounts import second_factor
from jamfidp.accounts.models import FailedSignIn, User
from jamfidp.accounts.throttle import Browser, begin_attempt
from jamfidp.history.record import record
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import LOCAL_SIGN_IN
from jamfidp.notices.models import Severity


class SignInRefused(Exception):
    """One sentence for every cause: it does not tell which accounts exist."""

    def __init__(self) -> None:
        super().__init__(
            "The user name or the password is wrong, or the account is disabled or "
            "blocked."
        )


def check_password(
    *,
    username: str,
    password: str,
    browser: Browser,
    address: str | None,
    now: datetime,
) -> User:
    """Return the local account that the password fits; it is not signed in yet.

    Takes as long for an account that does not exist as for a wrong password.

    Raises:
        SignInRefused, TooManyFailures
    """
    account = User.objects.filter(username__iexact=username, object_id="").first()
    attempt = begin_attempt(
        username=username,
        account_id=account.pk if account else None,
        browser=browser,
        address=address,
        now=now,
    )
    if not _password_fits(account, password):
        _record_refusal(account, attempt, now=now)
        raise SignInRefused
    assert account is not None  # noqa: S101 - a password fits no account but one
    attempt.delete()
    return account


@transaction.atomic
def signed_in(account: User, *, how: str, address: str | None, now: datetime) -> None:
    """Write down that somebody signed in; of Full Access, tell the others.

    `how` is 'Password' or 'Password and passkey'.
    """
    place = _from(address)
    record(
        obj=account,
        actor=account,
        action="signed in",
        note=f"Signed in with a {how[0].lower()}{how[1:]}{place}.",
        now=now,
    )
    if second_factor.holds_full_access(account, now=now):
        announce(
            kind=LOCAL_SIGN_IN,
            severity=Severity.INFO,
            title=f"{account.username} signed in with a password",
            body=f"{how}{place}. The account has Full Access and does not depend on "
            "Entra. If nobody should have used it now, end its sessions and set a new "
            "password.",
            link=account.get_absolute_url(),
            about=account,
            accounts=[account],
            now=now,
        )


def _password_fits(account: User | None, password: str) -> bool:
    if (
        account is None
        or not account.is_active
        or not account.has_usable_password()
        or account.blocks.in_force().exists()
    ):
        # The same work as for a real account, so that time tells nothing.
        User().set_password(password)
        return False
    return account.check_password(password)


def _record_refusal(
    account: User | None, attempt: FailedSignIn, *, now: datetime
) -> None:
    # The name that was typed is not kept when no account has it: people type
    # passwords into that field.
    about = "" if account else " No account has the user name that was typed."
    record(
        obj=account or attempt,
        actor=None,
        action="refused",
        note=f"Refused a sign-in with a password{_from(attempt.address)}.{about}",
        now=now,
    )


def _from(address: str | None) -> str:
    return f" from {address}" if address else ""
