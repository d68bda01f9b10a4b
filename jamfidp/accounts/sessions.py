"""Who is signed in where, and ending it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from jamfidp.accounts import session_store, standing
from jamfidp.accounts.explanations import explain
from jamfidp.accounts.grants import Reason
from jamfidp.accounts.models import AccountSession, User
from jamfidp.compiled import Compiled, Question, answers_to

# The order decides: Edge and Chrome name each other and Safari.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Mac OS X", "Mac"),
    ("Windows", "Windows"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session as a page shows it."""

    row: AccountSession
    is_this_one: bool
    ends_at: datetime


def open_sessions(now: datetime) -> QuerySet[AccountSession]:
    """Sessions of people that have not ended in any way."""
    return _open(now, now - session_store.idle_limit())


def _open(now: datetime, seen_after: datetime) -> QuerySet[AccountSession]:
    return AccountSession.objects.filter(
        account__isnull=False,
        ended_at=None,
        expires_at__gt=now,
        last_seen_at__gt=seen_after,
    )


_SIGNED_IN = Compiled(
    lambda now, seen_after, tenant_id: (
        _open(now, seen_after)
        .filter(account__tenant_id=tenant_id)
        .order_by()
        .values_list("pk")[:1]
    )
)


def anybody_signed_in(tenant_id: str, *, now: datetime) -> bool:
    """Whether an account of a tenant has an open session."""
    return bool(answers_to(signed_in_of(tenant_id, now=now)))


def signed_in_of(tenant_id: str, *, now: datetime) -> Question:
    """Return the question whether an account of a tenant has an open session."""
    return _SIGNED_IN.with_(now, now - session_store.idle_limit(), tenant_id)


def lines(
    account: User, *, now: datetime, this: AccountSession | None = None
) -> list[SessionLine]:
    """The open sessions of an account, the latest activity first."""
    return [
        SessionLine(
            row=row,
            is_this_one=this is not None and row.pk == this.pk,
            ends_at=min(row.expires_at, row.last_seen_at + session_store.idle_limit()),
        )
        for row in open_sessions(now).filter(account=account)
    ]


def end(
    sessions: QuerySet[AccountSession],
    *,
    because: str,
    now: datetime,
    but: AccountSession | None = None,
) -> int:
    """End sessions; their browsers read why. Returns how many were open."""
    ending = sessions.filter(ended_at=None)
    if but is not None:
        ending = ending.exclude(pk=but.pk)
    # What was kept in them is of no more use.
    return ending.update(ended_at=now, ended_because=because[:300], data="")


def end_all_of(
    account: User, *, because: str, now: datetime, but: AccountSession | None = None
) -> int:
    """End every session of an account, or all but one."""
    return end(
        AccountSession.objects.filter(account=account),
        because=because,
        now=now,
        but=but,
    )


def end_where_nothing_is_held(accounts: Iterable[User], *, now: datetime) -> None:
    """End the sessions of those among the accounts that hold nothing any more.

    Privileges that are suspended come back by themselves: these sessions stay.
    """
    for account in accounts:
        held = standing.read(account, now=now)
        reasons_given = {one.reason for one in held.withheld}
        suspended = reasons_given in ({Reason.STALE}, {Reason.RESTORED})
        if held.holds_nothing and not suspended:
            reasons = [explain(one, you=True).what for one in held.withheld]
            end_all_of(
                account,
                because=" ".join(["You hold no privileges any more.", *reasons[:1]]),
                now=now,
            )


def signed_in_accounts(
    now: datetime, *, tenant_id: str | None = None, ids: Collection[int] | None = None
) -> QuerySet[User]:
    """Accounts with an open session: of a tenant, among some, or all."""
    accounts = User.objects.filter(
        pk__in=open_sessions(now).values("account_id")
    ).select_related("site")
    if tenant_id is not None:
        accounts = accounts.filter(tenant_id=tenant_id)
    if ids is not None:
        accounts = accounts.filter(pk__in=ids)
    return accounts


def browser_words(user_agent: str) -> str:
    """Say in two words what a browser calls itself: 'Firefox, Mac'."""
    found = [
        next((name for mark, name in known if mark in user_agent), "")
        for known in (_BROWSERS, _SYSTEMS)
    ]
    return ", ".join(filter(None, found)) or "A browser that says nothing of itself"
