"""The first administrator of a console, and the way back in for its operator."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from django.db import transaction

from jamfidp.accounts import validity
from jamfidp.accounts.models import AccessLevel, PrivilegeSet, SetupCode, User
from jamfidp.accounts.throttle import Browser, begin_attempt
from jamfidp.history.record import record

CODE_LIFETIME = timedelta(hours=24)
# Without characters that are read as others: 32 of them, five bits each.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class AlreadySetUp(Exception):
    """The console has accounts: the set-up is over."""

    def __init__(self) -> None:
        super().__init__("This console is set up. Sign in with one of its accounts.")


class CodeRefused(Exception):
    """The set-up code is wrong, used, or older than a day."""

    def __init__(self) -> None:
        super().__init__(
            "This is not the set-up code, or it is older than 24 hours. Print a new "
            "one on the console's server with `manage.py setup_code`."
        )


def needed() -> bool:
    return not User.objects.exists()


@transaction.atomic
def new_code(*, now: datetime) -> str:
    """Return a new set-up code; an older one stops working. Raises AlreadySetUp."""
    if not needed():
        raise AlreadySetUp
    code = "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(5)
    )
    SetupCode.objects.all().delete()
    SetupCode.objects.create(code_hash=_hash(code), created_at=now)
    return code


def _hash(code: str) -> str:
    # 125 random bits: nothing to gain from a slow hash.
    plain = "".join(code.upper().split()).replace("-", "")
    return sha256(plain.encode()).hexdigest()


def set_up(
    *,
    code: str,
    username: str,
    full_name: str,
    password: str,
    address: str | None,
    now: datetime,
) -> User:
    """Make the first administrator with the set-up code, which works once.

    Raises:
        AlreadySetUp, CodeRefused, TooManyFailures
    """
    if not needed():
        raise AlreadySetUp
    # Counted per address alone: the code cannot be guessed, and strangers must not
    # keep the operator from the set-up.
    attempt = begin_attempt(
        username=f"set-up from {address}",
        account_id=None,
        browser=Browser(),
        address=address,
        now=now,
    )
    with transaction.atomic():
        # Locked: the same code sent twice at once makes one administrator.
        stored = SetupCode.objects.select_for_update().first()
        if (
            stored is None
            or not compare_digest(stored.code_hash, _hash(code))
            or now - stored.created_at > CODE_LIFETIME
        ):
            raise CodeRefused
        stored.delete()
        attempt.delete()
        return create_administrator(
            username=username, full_name=full_name, password=password, now=now
        )


@transaction.atomic
def create_administrator(
    *, username: str, full_name: str, password: str, now: datetime
) -> User:
    """Make a local account with Full Access and every privilege.

    For the set-up and for whoever operates the console's server: no account acts.
    """
    account = User(
        username=username,
        full_name=full_name,
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
        created_at=now,
    )
    account.set_password(password)
    account.full_clean(exclude=["password"])
    account.save()
    validity.follow(accounts=[account.pk], by=validity.SERVER, now=now)
    record(
        obj=account,
        actor=None,
        action="created",
        note="Created a local administrator from the console's server.",
        now=now,
    )
    return account


@transaction.atomic
def rescue(account: User, *, password: str, now: datetime) -> None:
    """Give a local account a new password and every privilege, and enable it."""
    account.set_password(password)
    account.is_active = True
    account.access_level = AccessLevel.FULL
    account.privilege_set = PrivilegeSet.ADMINISTRATOR
    account.site = None
    account.save()
    validity.follow(accounts=[account.pk], by=validity.SERVER, now=now)
    record(
        obj=account,
        actor=None,
        action="changed",
        note="Made an administrator with a new password from the console's server.",
        now=now,
    )
