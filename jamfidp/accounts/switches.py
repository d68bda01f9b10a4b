"""Switches for a bad night: stop sign-in with Entra, and keep a person out.

Each has a reason, stands in the history, and is announced to those who may see it.
`actor` None is whoever operates the console's server.
"""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from directory.dependents import ObjectRef
from directory.models import CloudIdentityProvider
from jamfidp.accounts import sessions
from jamfidp.accounts.administrators import one_remains
from jamfidp.accounts.models import (
    AccountSession,
    Block,
    EntraSignInStop,
    User,
)
from jamfidp.accounts.standing import ref_of
from jamfidp.accounts.user_accounts import check_may_manage
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import SIGN_IN_SWITCHES
from jamfidp.notices.models import Severity

FROM_SERVER = "the console's server"


class AlreadySo(Exception):
    """The switch stands like that already."""


class NotYourself(Exception):
    """Whoever blocks themselves could not lift it."""

    def __init__(self) -> None:
        super().__init__(
            "You cannot block yourself: you could not lift the block. Ask another "
            "administrator, or end your other sessions."
        )


# --- Sign-in with Entra ---------------------------------------------------------------


def stops() -> QuerySet[EntraSignInStop]:
    """The stops in force."""
    return EntraSignInStop.objects.filter(lifted_at=None)


def stop_for(tenant_id: str) -> EntraSignInStop | None:
    """The stop that keeps people of a tenant from signing in, or None."""
    return stops().filter(Q(tenant_id="") | Q(tenant_id=tenant_id)).first()


@transaction.atomic
def stop_entra(
    cloud_idp: CloudIdentityProvider | None,
    *,
    reason: str,
    end_sessions: bool,
    actor: User | None,
    now: datetime,
) -> EntraSignInStop:
    """Let nobody sign in with Entra, by one connection or by any.

    `end_sessions` ends those that were opened that way as well.

    Raises:
        AlreadySo
    """
    tenant_id = cloud_idp.tenant_id if cloud_idp else ""
    stop = EntraSignInStop(
        tenant_id=tenant_id,
        reason=reason.strip(),
        stopped_at=now,
        stopped_by_name=_name(actor),
    )
    try:
        with transaction.atomic():
            stop.save()
    except IntegrityError:
        raise AlreadySo("Sign-in with Entra is stopped already.") from None
    ended = 0
    if end_sessions:
        ended = sessions.end(
            _entra_sessions(tenant_id),
            because="Sign-in with Entra was stopped, and your session was ended.",
            now=now,
        )
    what = f"Sign-in with Entra is stopped: {_of(cloud_idp)}"
    record(
        obj=stop,
        actor=actor,
        action="stopped",
        note=f"{what}. Reason: {stop.reason}",
        details={"sessions ended": ["", str(ended)]},
        now=now,
    )
    announce(
        kind=SIGN_IN_SWITCHES,
        severity=Severity.CRITICAL,
        title=what,
        body=f"By {stop.stopped_by_name}. Reason: {stop.reason}\n\n"
        + (
            f"{ended} sessions were ended. "
            if end_sessions
            else "Who was signed in stays signed in. "
        )
        + "Local accounts sign in as before.",
        link=reverse("accounts:single-sign-on"),
        key=_key(tenant_id),
        now=now,
    )
    return stop


@transaction.atomic
def allow_entra(
    cloud_idp: CloudIdentityProvider | None,
    *,
    reason: str,
    actor: User | None,
    now: datetime,
) -> None:
    """Lift a stop. Raises AlreadySo when there is none."""
    tenant_id = cloud_idp.tenant_id if cloud_idp else ""
    stop = stops().filter(tenant_id=tenant_id).first()
    if stop is None:
        raise AlreadySo("Sign-in with Entra is not stopped there.")
    stop.lifted_at = now
    stop.save(update_fields=["lifted_at"])
    what = f"Sign-in with Entra is allowed again: {_of(cloud_idp)}"
    record(
        obj=stop,
        actor=actor,
        action="allowed",
        note=f"{what}. Reason: {reason.strip()}",
        now=now,
    )
    resolve(_key(tenant_id), now=now)
    announce(
        kind=SIGN_IN_SWITCHES,
        severity=Severity.INFO,
        title=what,
        body=f"By {_name(actor)}. Reason: {reason.strip()}",
        link=reverse("accounts:single-sign-on"),
        now=now,
    )


def signed_in_with_entra(tenant_id: str, *, now: datetime) -> int:
    """How many people have an open session by Entra: of a tenant, or of all."""
    open_ones = sessions.open_sessions(now).filter(_of_tenant(tenant_id))
    return open_ones.values("account").distinct().count()


def _entra_sessions(tenant_id: str) -> QuerySet[AccountSession]:
    return AccountSession.objects.filter(_of_tenant(tenant_id))


def _of_tenant(tenant_id: str) -> Q:
    if tenant_id:
        return Q(account__tenant_id=tenant_id)
    return ~Q(account__object_id="") & Q(account__isnull=False)


def _of(cloud_idp: CloudIdentityProvider | None) -> str:
    return str(cloud_idp) if cloud_idp else "all connections"


def _key(tenant_id: str) -> str:
    return f"entra-sign-in-stopped/{tenant_id or 'all'}"


# --- People ---------------------------------------------------------------------------


def block_of(account: User) -> Block | None:
    """The block that keeps an account out, or None."""
    whom = Q(account=account)
    ref = ref_of(account)
    if ref is not None:
        whom |= Q(tenant_id=ref.tenant_id, object_id=ref.object_id)
    return Block.objects.in_force().filter(whom).first()


def block_of_person(ref: ObjectRef) -> Block | None:
    return (
        Block.objects.in_force()
        .filter(tenant_id=ref.tenant_id, object_id=ref.object_id)
        .first()
    )


@transaction.atomic
def block_account(
    account: User, *, reason: str, actor: User | None, now: datetime
) -> Block:
    """End all sessions of an account and keep its person out until it is lifted.

    Raises:
        NotYourself, AlreadySo, MoreThanYouHold
        LastAdministrator: nobody could administer the console without Entra.
    """
    if actor is not None:
        if actor.pk == account.pk:
            raise NotYourself
        check_may_manage(actor, account, now=now)
    ref = ref_of(account)
    if block_of(account) is not None:
        raise AlreadySo(f"{account.username} is blocked already.")
    with one_remains():
        return _block(
            account, ref, name=account.username, reason=reason, actor=actor, now=now
        )


@transaction.atomic
def block_person(
    ref: ObjectRef, *, name: str, reason: str, actor: User | None, now: datetime
) -> Block:
    """Keep a person of Entra out who has no account here yet.

    Raises:
        AlreadySo
    """
    if block_of_person(ref) is not None:
        raise AlreadySo(f"{name} is blocked already.")
    return _block(None, ref, name=name, reason=reason, actor=actor, now=now)


def _block(
    account: User | None,
    ref: ObjectRef | None,
    *,
    name: str,
    reason: str,
    actor: User | None,
    now: datetime,
) -> Block:
    block = Block.objects.create(
        account=account,
        tenant_id=ref.tenant_id if ref else "",
        object_id=ref.object_id if ref else "",
        name=name[:255],
        reason=reason.strip(),
        blocked_at=now,
        blocked_by_name=_name(actor),
    )
    ended = 0
    if account is not None:
        ended = sessions.end_all_of(
            account, because="You were blocked in this console.", now=now
        )
    _tell(
        block,
        account,
        action="blocked",
        title=f"{name} was blocked",
        text=f"Reason: {block.reason}",
        more=f" {ended} sessions were ended." if ended else "",
        actor=actor,
        now=now,
    )
    return block


@transaction.atomic
def lift(block: Block, *, reason: str, actor: User | None, now: datetime) -> None:
    """Let a person in again.

    Raises:
        AlreadySo, MoreThanYouHold
    """
    account = block.account
    if actor is not None and account is not None:
        check_may_manage(actor, account, now=now)
    lifted = Block.objects.in_force().filter(pk=block.pk).update(lifted_at=now)
    if not lifted:
        raise AlreadySo(f"{block} is not blocked any more.")
    _tell(
        block,
        account,
        action="unblocked",
        title=f"The block of {block} was lifted",
        text=f"Reason: {reason.strip()}",
        more="",
        actor=actor,
        now=now,
    )


def _tell(
    block: Block,
    account: User | None,
    *,
    action: str,
    title: str,
    text: str,
    more: str,
    actor: User | None,
    now: datetime,
) -> None:
    record(
        obj=account or block,
        actor=actor,
        action=action,
        note=f"{title}. {text}{more}",
        now=now,
    )
    announce(
        kind=SIGN_IN_SWITCHES,
        severity=Severity.WARNING,
        title=title,
        body=f"By {_name(actor)}. {text}{more}",
        link=account.get_absolute_url()
        if account
        else reverse("accounts:single-sign-on"),
        about=account or block,
        now=now,
    )


def blocks() -> QuerySet[Block]:
    return Block.objects.in_force().select_related("account")


def _name(actor: User | None) -> str:
    return str(actor)[:255] if actor is not None else FROM_SERVER
