"""Guessing is slowed, and nobody can lock an account for everybody.

After some failures each further one makes the next attempt wait longer. Failures of
strangers count per account and per address. A browser that has signed in to the
account before counts for itself alone: a stranger who guesses at the account never
makes its owner wait there. An attempt that has to wait is refused without looking at
the password, and is not counted.
https://cheatsheetseries.owasp.org/cheatsheets/Authentication_Cheat_Sheet.html
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max, Q
from django.utils.crypto import salted_hmac

from jamfidp.accounts.models import FailedSignIn

REMEMBERED = timedelta(hours=1)
FREE_PER_ACCOUNT = 5
FREE_PER_ADDRESS = 20
LONGEST_PER_ACCOUNT = timedelta(minutes=1)
LONGEST_PER_ADDRESS = timedelta(minutes=15)


class TooManyFailures(Exception):
    """Attempts come too fast; `wait` is how long the next one has to."""

    def __init__(self, wait: timedelta) -> None:
        self.seconds = max(1, math.ceil(wait.total_seconds()))
        unit = "second" if self.seconds == 1 else "seconds"
        super().__init__(
            f"Too many sign-ins failed. Wait {self.seconds} {unit}, then try again. "
            "What you typed was not looked at."
        )


@dataclass(frozen=True, slots=True)
class Browser:
    """What a browser proves of itself: an id, and the accounts it has signed in to."""

    id: str = ""
    account_ids: Collection[int] = ()

    def hash_for(self, account_id: int | None) -> str:
        """Empty for a stranger to the account."""
        if not self.id or account_id is None or account_id not in self.account_ids:
            return ""
        return hashlib.sha256(self.id.encode()).hexdigest()


def username_key(username: str) -> str:
    """Return one key for all spellings that the database takes for the same name.

    It compares in upper case, where a dotless i is an I and a long s an S.
    """
    folded = unicodedata.normalize("NFC", username).upper().casefold().strip()
    return salted_hmac("accounts.throttle", folded, algorithm="sha256").hexdigest()


def address_key(address: str | None) -> str | None:
    """Return what an address counts as: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        network = ipaddress.IPv6Network((parsed, 64), strict=False)
        return str(network.network_address)
    return str(parsed)


def delay(failures: int, *, free: int, longest: timedelta) -> timedelta:
    """Return how long to wait after the last of so many failures."""
    if failures < free:
        return timedelta(0)
    # 2**20 seconds is beyond any limit; the cap keeps the number small.
    return min(longest, timedelta(seconds=2 ** min(failures - free, 20)))


@transaction.atomic
def begin_attempt(
    *,
    username: str,
    account_id: int | None,
    browser: Browser,
    address: str | None,
    now: datetime,
    longest: timedelta = LONGEST_PER_ACCOUNT,
) -> FailedSignIn:
    """Count the attempt as failed before it is tried; delete the row on success.

    Counted first, so that guesses sent all at once count as well.

    Raises:
        TooManyFailures: the attempt comes too early.
    """
    FailedSignIn.objects.filter(at__lt=now - REMEMBERED).delete()
    key, place = username_key(username), address_key(address)
    browser_hash = browser.hash_for(account_id)
    wait = _wait(
        Q(username_key=key, browser_hash=browser_hash), now=now, longest=longest
    )
    if not browser_hash and place is not None:
        wait = max(
            wait,
            _wait(
                Q(address=place, browser_hash=""),
                now=now,
                free=FREE_PER_ADDRESS,
                longest=LONGEST_PER_ADDRESS,
            ),
        )
    if wait > timedelta(0):
        raise TooManyFailures(wait)
    return FailedSignIn.objects.create(
        at=now, username_key=key, browser_hash=browser_hash, address=place
    )


def failures_of(username: str, *, now: datetime) -> int:
    """Return how many attempts under a name failed lately."""
    return FailedSignIn.objects.filter(
        username_key=username_key(username), at__gte=now - REMEMBERED
    ).count()


def forget(username: str) -> int:
    """Let the next attempt under a name be free; return how many failures there were."""
    count, _ = FailedSignIn.objects.filter(username_key=username_key(username)).delete()
    return count


def _wait(
    which: Q,
    *,
    now: datetime,
    free: int = FREE_PER_ACCOUNT,
    longest: timedelta = LONGEST_PER_ACCOUNT,
) -> timedelta:
    found = FailedSignIn.objects.filter(which, at__gte=now - REMEMBERED).aggregate(
        failures=Count("pk"), last=Max("at")
    )
    if found["last"] is None:
        return timedelta(0)
    until: datetime = found["last"] + delay(
        found["failures"], free=free, longest=longest
    )
    return until - now


def worth_recording(*, address: str | None, now: datetime) -> bool:
    """Count a refused answer; tell whether the history has room for another entry.

    Anybody can send answers that are refused: they must not fill the database.
    """
    place = address_key(address)
    recent = FailedSignIn.objects.filter(address=place, at__gte=now - REMEMBERED)
    if recent.count() >= FREE_PER_ADDRESS:
        return False
    FailedSignIn.objects.create(at=now, username_key="", address=place)
    return True
