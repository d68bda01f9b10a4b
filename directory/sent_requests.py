"""Requests for consent, sent to a Global Administrator who has no account here.

The link works once, in one browser, for 72 hours, until somebody revokes it. The ten
minutes of an attempt begin when it is opened, and not before: whoever merely looks at
the link, as mail scanners do, has not opened it. What comes of it is verified like any
other attempt, and waits for an administrator of the console to save it.
"""

import hashlib
import secrets
import smtplib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from directory import connect, credentials
from directory.connector.messages import Answer
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    ConsentRequest,
    SentRequest,
    SyncRun,
)
from directory.permissions import PERMISSIONS
from jamfidp import crypto
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import CONSENT_REQUEST
from jamfidp.notices.mail import writes_to_log
from jamfidp.notices.models import Severity

Step = ConsentRequest.Step

ADD = "directory.add_cloudidentityprovider"
CHANGE = "directory.change_cloudidentityprovider"

OPEN_WITHIN = timedelta(hours=72)
# After its end a request stands in the list, to be looked back at.
KEPT = timedelta(days=30)
# 256 random bits: nobody guesses one, so that a fast hash of it is enough.
TOKEN_BYTES = 32


class State(StrEnum):
    """Where a request stands."""

    OPEN = "open"
    OPENED = "opened"
    ANSWERED = "answered"
    VERIFIED = "verified"
    SAVED = "saved"
    FAILED = "failed"
    REVOKED = "revoked"
    EXPIRED = "expired"
    LAPSED = "lapsed"


# States in which something can still come of it.
PENDING = frozenset({State.OPEN, State.OPENED, State.ANSWERED, State.VERIFIED})


class LinkRefusal(StrEnum):
    """Why a link is not opened."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED = "used"
    WITHDRAWN = "withdrawn"


class LinkRefused(Exception):
    """A link leads nowhere, or nowhere any more; nothing was changed."""

    def __init__(self, refusal: LinkRefusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class NotMailed(Exception):
    """The mail server did not take the mail; the link can be copied."""


# --- Reading -----------------------------------------------------------------------


def privilege_for(cloud_idp: CloudIdentityProvider | None) -> str:
    """Return what it takes to ask: for a new connection, or for an existing one."""
    return ADD if cloud_idp is None else CHANGE


def attempt_of(sent: SentRequest) -> ConsentRequest | None:
    """Return the attempt that began when the link was opened."""
    return ConsentRequest.objects.filter(sent_request=sent).first()


def state_of(sent: SentRequest, *, now: datetime) -> State:
    """Return where a request stands, as its rows say at this moment."""
    return standing(sent, attempt_of(sent), now=now)


def standing(
    sent: SentRequest, attempt: ConsentRequest | None, *, now: datetime
) -> State:
    """Return where a request stands; what was revoked stays revoked."""
    if sent.revoked_at is not None:
        return State.REVOKED
    if attempt is None:
        return State.EXPIRED if now >= sent.expires_at else State.OPEN
    match attempt.step:
        case Step.SAVED:
            return State.SAVED
        case Step.FAILED:
            return State.FAILED
    if now >= attempt.expires_at and attempt.step != Step.ANSWERED:
        return State.LAPSED
    return {
        Step.STARTED: State.OPENED,
        Step.ANSWERED: State.ANSWERED,
    }.get(Step(attempt.step), State.VERIFIED)


def pending(*, now: datetime) -> Sequence[SentRequest]:
    """Return the requests that something can still come of, newest first."""
    candidates = (
        listed()
        .filter(revoked_at=None)
        .filter(Q(attempt=None, expires_at__gt=now) | Q(attempt__isnull=False))
        .exclude(attempt__step__in=[Step.SAVED, Step.FAILED])
    )
    return [
        sent
        for sent in candidates
        if standing(sent, getattr(sent, "attempt", None), now=now) in PENDING
    ]


def listed() -> QuerySet[SentRequest]:
    """Return every request that is kept, with what came of it, newest first."""
    return SentRequest.objects.select_related("cloud_idp", "started_by", "attempt")


def link(sent: SentRequest) -> str:
    """Return the address to send. Raises credentials.CredentialsUnreadable.

    The token stands in the query, and is taken out of the address at once: paths stand
    in logs, queries do not.
    """
    try:
        token = sent.unseal()
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        raise credentials.CredentialsUnreadable(
            "The link of this request cannot be read.",
            advice="The encryption key changed meanwhile. Revoke it and send another "
            "one.",
        ) from None
    path = reverse("directory:request-page")
    return f"{settings.CONSOLE_URL}{path}?{urlencode({'token': token})}"


def find(token: str) -> SentRequest | None:
    """Return the request of a link's token."""
    return (
        SentRequest.objects.select_related("cloud_idp", "registration", "started_by")
        .filter(token_hash=_hash(token))
        .first()
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# --- Sending -----------------------------------------------------------------------


@transaction.atomic
def send(
    *,
    registration: ApplicationRegistration,
    cloud_idp: CloudIdentityProvider | None,
    recipient: str,
    actor: Any,
    now: datetime,
) -> SentRequest:
    """Make a request and its link. Mail is `mail`'s to send, after this is committed.

    Raises:
        NoRegistration, credentials.CredentialsUnreadable,
        errors.AssertionUnavailable, connect.RegistrationInUse, crypto.KeyUnavailable
    """
    credentials.require_one(registration)
    connect.check_free(registration, cloud_idp)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    sent = SentRequest(
        token_hash=_hash(token),
        registration=registration,
        cloud=registration.cloud,
        cloud_idp=cloud_idp,
        started_by=actor,
        started_by_name=str(actor)[:255],
        recipient=recipient,
        created_at=now,
        expires_at=now + OPEN_WITHIN,
    )
    sent.token_sealed = sent.seal(token)
    sent.save()
    record(
        obj=cloud_idp or sent,
        actor=actor,
        action="consent",
        note=f"Made {str(sent).lower()} for consent"
        + (f", for {recipient}" if recipient else ""),
        now=now,
    )
    return sent


def can_mail() -> bool:
    """Tell whether a mail server is set. A link does not belong into a log."""
    return not writes_to_log()


def mail(sent: SentRequest, *, actor: Any, now: datetime) -> None:
    """Send the link to the request's recipient.

    Raises:
        NotMailed: no mail server is set, or it did not take the mail.
        LinkRefused: there is nothing to open any more.
        credentials.CredentialsUnreadable
    """
    if state_of(sent, now=now) != State.OPEN:
        raise LinkRefused(LinkRefusal.USED)
    if not can_mail() or not sent.recipient:
        raise NotMailed
    text = _mail_text(sent)
    try:
        EmailMessage(
            subject=f"Consent is asked of you for {settings.CONSOLE_URL}",
            body=text,
            to=[sent.recipient],
        ).send()
    except (OSError, smtplib.SMTPException):
        # Its text can hold the mail, and so the link.
        raise NotMailed from None
    with transaction.atomic():
        sent.mailed_at = now
        sent.save(update_fields=["mailed_at"])
        record(
            obj=sent.cloud_idp or sent,
            actor=actor,
            action="consent",
            note=f"Mailed {str(sent).lower()} to {sent.recipient}",
            now=now,
        )


def _mail_text(sent: SentRequest) -> str:
    tenant = (
        f"the tenant {sent.cloud_idp.tenant_name} ({sent.cloud_idp.tenant_id})"
        if sent.cloud_idp
        else "your tenant"
    )
    permissions = "\n".join(f"- {each.name}: {each.heading}" for each in PERMISSIONS)
    return (
        f"{sent.started_by_name} asks a Global Administrator of {tenant} to let the "
        f"device console at {settings.CONSOLE_URL} read users and groups of Microsoft "
        "Entra ID. It only reads; nothing in Entra is changed.\n\n"
        f"What is asked for:\n{permissions}\n\n"
        f"Open this link to see who asks and what for, and to go on to Microsoft's "
        f"page:\n\n{link(sent)}\n\n"
        f"It works once, in one browser, until {sent.expires_at:%-d %B %Y, %H:%M} UTC. "
        "You need no account of the console.\n\n"
        "If you do not expect this, ask whoever is named above on another way, and do "
        "not open the link.\n"
    )


@transaction.atomic
def revoke(sent: SentRequest, *, actor: Any, now: datetime) -> bool:
    """Take a request back, opened or not; what was verified is forgotten.

    Returns False when nothing could come of it any more.
    """
    locked = SentRequest.objects.select_for_update().get(pk=sent.pk)
    if state_of(locked, now=now) not in PENDING:
        return False
    locked.revoked_at = sent.revoked_at = now
    locked.token_sealed = ""
    locked.save(update_fields=["revoked_at", "token_sealed"])
    attempt = attempt_of(locked)
    if attempt is not None:
        connect.fail(
            attempt,
            connect.Failure(
                kind="Revoked",
                message="The request was revoked.",
                advice="Nothing was saved. Ask whoever sent it.",
            ),
            now=now,
        )
    resolve(locked.notice_key, now=now)
    record(
        obj=locked.cloud_idp or locked,
        actor=actor,
        action="consent",
        note=f"Revoked {str(locked).lower()}",
        now=now,
    )
    return True


def forget_old(*, now: datetime) -> None:
    """Delete requests that ended long ago, with what came of them."""
    old = SentRequest.objects.filter(expires_at__lt=now - KEPT)
    old.exclude(attempt__expires_at__gt=now).delete()


# --- Opening -----------------------------------------------------------------------


def check(sent: SentRequest | None, *, now: datetime) -> SentRequest:
    """Return a request whose link may be opened. Raises LinkRefused."""
    if sent is None:
        raise LinkRefused(LinkRefusal.UNKNOWN)
    if sent.revoked_at is not None:
        raise LinkRefused(LinkRefusal.REVOKED)
    if sent.opened_at is not None:
        raise LinkRefused(LinkRefusal.USED)
    if now >= sent.expires_at:
        raise LinkRefused(LinkRefusal.EXPIRED)
    if not _may_still_ask(sent):
        raise LinkRefused(LinkRefusal.WITHDRAWN)
    return sent


def _may_still_ask(sent: SentRequest) -> bool:
    """Whoever sent it may have been demoted, disabled or deleted since."""
    person: Any = sent.started_by
    return bool(
        person is not None
        and person.is_active
        and person.has_perm(privilege_for(sent.cloud_idp))
    )


@transaction.atomic
def open_link(token: str, *, browser: str, now: datetime) -> ConsentRequest:
    """Begin the attempt of a link, in this browser and no other.

    Raises:
        LinkRefused
        what connect.begin raises; the link is not used up then.
    """
    sent = check(find(token), now=now)
    # Of two browsers at the same moment one opens it.
    opened = SentRequest.objects.filter(
        pk=sent.pk, opened_at=None, revoked_at=None
    ).update(opened_at=now, token_sealed="")
    if not opened:
        raise LinkRefused(LinkRefusal.USED)
    return connect.begin(
        registration=sent.registration,
        cloud_idp=sent.cloud_idp,
        browser=browser,
        actor=None,
        sent_request=sent,
        now=now,
    )


def attempt_in(browser: str) -> ConsentRequest | None:
    """Return the attempt that a link began in this browser."""
    if not browser:
        return None
    return (
        ConsentRequest.objects.select_related(
            "sent_request", "sent_request__started_by", "cloud_idp", "registration"
        )
        .filter(browser_hash=connect.browser_hash(browser))
        .exclude(sent_request=None)
        .first()
    )


def still_asked(attempt: ConsentRequest) -> bool:
    """Tell whether an attempt may go on: its sender may ask, and did not revoke it."""
    sent = attempt.sent_request
    return sent is not None and sent.revoked_at is None and _may_still_ask(sent)


# --- The answer --------------------------------------------------------------------


def take_answer(
    answer: Answer, *, code: str, browser: str, now: datetime
) -> ConsentRequest:
    """Attach Microsoft's answer to the attempt of a link; tell of a refusal.

    Raises:
        connect.AnswerRefused
        LinkRefused: whoever sent it may not ask any more.
    """
    attempt = connect.attempt_of(answer)
    if attempt is not None and not still_asked(attempt):
        raise LinkRefused(LinkRefusal.WITHDRAWN)
    attempt = connect.take_answer(
        answer, code=code, browser=browser, actor=None, now=now
    )
    _tell(attempt, now=now)
    return attempt


def verify_next(attempt: ConsentRequest, *, now: datetime) -> None:
    """Do the next check of an attempt, and tell when it was the last."""
    connect.verify_next(attempt, now=now)
    _tell(attempt, now=now)


def verify(attempt: ConsentRequest, *, now: datetime) -> None:
    """Do every check that is left, and tell what came of it."""
    connect.verify(attempt, now=now)
    _tell(attempt, now=now)


def _tell(attempt: ConsentRequest, *, now: datetime) -> None:
    """Tell who sent the request, and who may save it, what came of it."""
    sent = attempt.sent_request
    if sent is None or attempt.step not in (Step.VERIFIED, Step.FAILED):
        return
    name = sent.cloud_idp.display_name if sent.cloud_idp else ""
    if attempt.step == Step.VERIFIED:
        tenant = attempt.verified["tenant_name"] or attempt.verified["tenant_id"]
        title = f"Consent was given for {name or tenant}: save it"
        body = (
            f"{attempt.verified['person']['user_name']} consented for {tenant} "
            f"({attempt.verified['tenant_id']}). The tenant is verified. Nothing is "
            f"saved before an administrator of this console saves it, until "
            f"{attempt.expires_at:%-d %B %Y, %H:%M} UTC."
        )
        severity = Severity.INFO
    else:
        title = f"A request for consent{f' for {name}' if name else ''} was not granted"
        body = " ".join(
            part
            for part in (
                attempt.failure["message"],
                f"Microsoft's reference: {attempt.failure['code']}."
                if attempt.failure["code"]
                else "",
                "Nothing was changed. The link is used up; send another one.",
            )
            if part
        )
        severity = Severity.WARNING
    announce(
        kind=CONSENT_REQUEST,
        severity=severity,
        title=title,
        body=body,
        link=sent.get_absolute_url(),
        about=sent.cloud_idp,
        accounts=[sent.started_by] if sent.started_by is not None else [],
        key=sent.notice_key,
        now=now,
    )


# --- Save --------------------------------------------------------------------------


@transaction.atomic
def save(
    sent: SentRequest,
    *,
    cloud_idp: CloudIdentityProvider,
    mappings: AttributeMappings,
    actor: Any,
    now: datetime,
) -> SyncRun:
    """Save what a request came to as a new connection. Raises as connect.save does."""
    attempt = _verified(sent, now=now)
    run = connect.save(
        attempt, cloud_idp=cloud_idp, mappings=mappings, actor=actor, now=now
    )
    resolve(sent.notice_key, now=now)
    return run


@transaction.atomic
def save_renewed(
    sent: SentRequest, *, actor: Any, now: datetime
) -> CloudIdentityProvider:
    """Store the renewed consent that a request came to. Raises as `save` does."""
    cloud_idp = connect.save_renewed(_verified(sent, now=now), actor=actor, now=now)
    resolve(sent.notice_key, now=now)
    return cloud_idp


def _verified(sent: SentRequest, *, now: datetime) -> ConsentRequest:
    """Return what waits to be saved; nobody revokes the request meanwhile."""
    locked = SentRequest.objects.select_for_update().get(pk=sent.pk)
    attempt = attempt_of(locked)
    if attempt is None or state_of(locked, now=now) != State.VERIFIED:
        raise connect.AttemptOver
    return attempt
