"""Mail of notices: written down as rows, sent by a worker, repeated when it fails.

A notice that was raised has no mails yet. `plan` writes them down, for those who may
see the notice at that moment. `deliver` sends what is due. While the mail server
fails, it alone is tried, at growing intervals; everything else goes on.

A worker that dies between sending and writing down that it sent sends once more.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.urls import reverse

from jamfidp.components import Check
from jamfidp.notices import mail_choices
from jamfidp.notices.kinds import KINDS, Kind
from jamfidp.notices.models import MailOptOut, MailServer, Notice, NoticeMail

# Within which a worker that took mails has to be done with them.
LEASE = timedelta(minutes=5)
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
# News this old is no news: it stands in the console.
GIVEN_UP_AFTER = timedelta(days=3)
KEPT = timedelta(days=180)
AT_ONCE = 200
# Errors of one recipient or one message; any other is the server's.
OF_THE_MESSAGE = (
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPDataError,
    smtplib.SMTPSenderRefused,
)

logger = logging.getLogger(__name__)


def writes_to_log() -> bool:
    """Whether mail ends in the log of the worker: no mail server is set."""
    return str(settings.EMAIL_BACKEND).endswith("console.EmailBackend")


def plan(*, now: datetime) -> None:
    """Write down the mails of notices that have none yet."""
    waiting = Notice.objects.filter(mail_planned_at=None).order_by("pk")
    if not waiting.exists():
        return
    # Read once: their standing is decided once for each instance.
    accounts = list(
        get_user_model().objects.filter(is_active=True).exclude(email="").order_by("pk")
    )
    for notice in waiting[:AT_ONCE]:
        kind = KINDS.get(notice.kind)
        with transaction.atomic():
            # Of two workers one finds it still to be done.
            taken = Notice.objects.filter(pk=notice.pk, mail_planned_at=None).update(
                mail_planned_at=now
            )
            if taken and kind is not None:
                NoticeMail.objects.bulk_create(
                    _mails(notice, kind, accounts, now=now), ignore_conflicts=True
                )


def _mails(
    notice: Notice, kind: Kind, accounts: Iterable[Any], *, now: datetime
) -> list[NoticeMail]:
    choice = mail_choices.choice_for(kind)
    if not choice.by_mail:
        return []
    named = set(notice.accounts.values_list("pk", flat=True))
    declined = (
        set()
        if kind.always_by_mail
        else set(
            MailOptOut.objects.filter(kind=kind.name).values_list(
                "account_id", flat=True
            )
        )
    )
    mails: dict[str, NoticeMail] = {}
    for account in accounts:
        if account.pk not in declined and _concerns(notice, kind, account, named):
            mails.setdefault(
                account.email.casefold(),
                NoticeMail(
                    notice=notice, account=account, address=account.email, due_at=now
                ),
            )
    for address in choice.addresses:
        mails.setdefault(
            address.casefold(), NoticeMail(notice=notice, address=address, due_at=now)
        )
    return list(mails.values())


def _concerns(notice: Notice, kind: Kind, account: Any, named: set[int]) -> bool:
    if account.pk in named:
        return True
    if not kind.privilege:
        return False
    return all(
        account.sites_with(privilege).may_see(notice.site_id)
        for privilege in (kind.privilege, kind.mail_privilege)
        if privilege
    )


def deliver(*, now: datetime) -> None:
    """Send what is due, unless the mail server has to be left alone for a while."""
    server = _server()
    if server.next_attempt_at is not None and server.next_attempt_at > now:
        return
    mails = _take(now=now)
    if not mails:
        return
    by_address: dict[str, list[NoticeMail]] = defaultdict(list)
    for one in mails:
        by_address[one.address].append(one)
    connection = get_connection()
    try:
        connection.open()
        for address, several in by_address.items():
            _send(connection, address, several, now=now)
    except (OSError, smtplib.SMTPException) as error:
        _server_failed(server, reason(error), mails, now=now)
    else:
        MailServer.objects.filter(pk=server.pk).update(
            last_sent_at=now, failing_since=None, failures=0, next_attempt_at=None
        )
    finally:
        # A server that just failed may fail at being left, too.
        connection.fail_silently = True
        connection.close()


def _take(*, now: datetime) -> list[NoticeMail]:
    """Take mails that are due, so that no other worker does; drop what is over."""
    taken = []
    with transaction.atomic():
        due = (
            NoticeMail.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("notice", "account")
            .filter(state=NoticeMail.State.QUEUED, due_at__lte=now)
            .order_by("pk")[:AT_ONCE]
        )
        for one in due:
            one.state = _state_of(one, now=now)
            one.due_at = now + LEASE
            one.save(update_fields=["state", "due_at"])
            if one.state == NoticeMail.State.QUEUED:
                taken.append(one)
    return taken


def _state_of(one: NoticeMail, *, now: datetime) -> NoticeMail.State:
    """Whether a mail still has to go: much can have changed since it was queued."""
    notice, account, kind = one.notice, one.account, KINDS.get(one.notice.kind)
    if notice.raised_at < now - GIVEN_UP_AFTER:
        return NoticeMail.State.GIVEN_UP
    over = notice.resolved_at is not None or kind is None
    if account is not None and kind is not None:
        named = set(notice.accounts.values_list("pk", flat=True))
        over |= not account.is_active
        over |= not _concerns(notice, kind, account, named)
    return NoticeMail.State.WITHDRAWN if over else NoticeMail.State.QUEUED


def _send(
    connection: Any, address: str, mails: Sequence[NoticeMail], *, now: datetime
) -> None:
    try:
        message(address, mails, connection=connection).send()
    except OF_THE_MESSAGE as error:
        for one in mails:
            one.attempts += 1
            one.due_at = now + wait_after(one.attempts)
            one.error = reason(error)
            one.save(update_fields=["attempts", "due_at", "error"])
        logger.warning("Mail was refused: %s", reason(error))
    else:
        NoticeMail.objects.filter(pk__in=[one.pk for one in mails]).update(
            state=NoticeMail.State.SENT, sent_at=now, error=""
        )


def message(
    address: str, mails: Sequence[NoticeMail], *, connection: Any = None
) -> EmailMessage:
    """One message for all notices that wait for an address: a storm is one mail."""
    notices = [one.notice for one in mails]
    subject = notices[0].title if len(notices) == 1 else f"{len(notices)} notices"
    host = settings.CONSOLE_URL.partition("://")[2]
    return EmailMessage(
        subject=f"[{host}] {subject}",
        body="\n\n\n".join([*map(_text, notices), _foot(mails[0])]),
        to=[address],
        connection=connection,
        # Automatic answers stay away.
        headers={"Auto-Submitted": "auto-generated"},
    )


def _text(notice: Notice) -> str:
    link = f"{settings.CONSOLE_URL}{notice.link}" if notice.link else ""
    return "\n\n".join(part for part in (notice.title, notice.body, link) if part)


def _foot(one: NoticeMail) -> str:
    if one.account is None:
        page = reverse("notices:settings")
        return (
            "-- \nThis address stands in the console under Settings > Notifications: "
            f"{settings.CONSOLE_URL}{page}"
        )
    page = reverse("notices:preferences")
    return (
        "-- \nYou get this as an account of the console. Choose what comes by mail: "
        f"{settings.CONSOLE_URL}{page}"
    )


def _server() -> MailServer:
    return MailServer.objects.get_or_create(pk=1)[0]


def _server_failed(
    server: MailServer, why: str, mails: Iterable[NoticeMail], *, now: datetime
) -> None:
    server.failing_since = server.failing_since or now
    server.failures += 1
    server.next_attempt_at = now + wait_after(server.failures)
    server.error = why
    server.save()
    NoticeMail.objects.filter(
        pk__in=[one.pk for one in mails], state=NoticeMail.State.QUEUED
    ).update(due_at=now, error=why)
    logger.warning("The mail server failed: %s", why)


def wait_after(failures: int) -> timedelta:
    """Half a minute, doubled with each further failure, an hour at most."""
    # 2**20 half minutes are beyond the limit; the cap keeps the number small.
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(failures - 1, 20)))


def reason(error: Exception) -> str:
    """Say in words what the mail server did; nothing that it quoted."""
    code = getattr(error, "smtp_code", None)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(answer[0]) for answer in error.recipients.values()})
        return f"The mail server refused the address ({', '.join(codes)})."
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"The mail server refused the user name or password ({code})."
    if isinstance(error, smtplib.SMTPSenderRefused):
        return f"The mail server refused the sender of MAIL_FROM ({code})."
    if isinstance(error, ssl.SSLError):
        return "The mail server's TLS was refused."
    if isinstance(error, socket.gaierror):
        return "The host name of the mail server is not known."
    if isinstance(error, TimeoutError):
        return "The mail server did not answer in time."
    if isinstance(error, ConnectionRefusedError):
        return "The mail server refused the connection."
    if code is not None:
        return f"The mail server answered {code}."
    return f"The mail server could not be used ({type(error).__name__})."


def check() -> Check:
    """For the System page: whether mail goes out."""
    server = MailServer.objects.filter(pk=1).first()
    waiting = NoticeMail.objects.filter(state=NoticeMail.State.QUEUED).count()
    noun = "message waits" if waiting == 1 else "messages wait"
    url = reverse("notices:settings")
    if server is not None and server.failing_since is not None:
        return Check(
            "Mail",
            "bad",
            f"Mail cannot be sent. {server.error} {waiting} {noun}; it is tried again "
            f"by itself. Failing since",
            url=url,
            as_of=server.failing_since,
        )
    if writes_to_log():
        return Check(
            "Mail",
            "attention",
            "No mail server is set: notices are written to the log of the worker. "
            "Set EMAIL_URL.",
            url=url,
        )
    sent_at = server.last_sent_at if server else None
    return Check(
        "Mail",
        "good",
        f"{waiting} {noun}." + (" Last sent" if sent_at else " None was sent yet."),
        url=url,
        as_of=sent_at,
    )


def clear_leftovers(*, now: datetime) -> None:
    """Delete notices that are long over: events, and causes that have ended."""
    old = Notice.objects.filter(raised_at__lt=now - KEPT)
    old.filter(key="").delete()
    old.filter(resolved_at__lt=now - KEPT).delete()
