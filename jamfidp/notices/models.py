from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from jamfidp.notices.kinds import KINDS


class Severity(models.TextChoices):
    INFO = "INFO", "Information"
    WARNING = "WARNING", "Warning"
    CRITICAL = "CRITICAL", "Critical"


class Notice(models.Model):
    """Something that people should know: an event, or a cause that lasts.

    A cause that lasts has a key; while it lasts it is announced once. Like history,
    it names its object by label and primary key, without a foreign key.
    """

    kind = models.CharField(max_length=40)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    title = models.CharField(max_length=200)
    # Plain text; an empty line begins a paragraph.
    body = models.TextField(blank=True)
    # A path of this console.
    link = models.CharField(max_length=500, blank=True)
    object_label = models.CharField(max_length=100, blank=True)
    object_pk = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=255, blank=True)
    site_id = models.BigIntegerField(null=True)
    key = models.CharField(max_length=200, blank=True)
    raised_at = models.DateTimeField()
    # When the cause ended; an event never does.
    resolved_at = models.DateTimeField(null=True)
    # When its mails were written down; null: still to be done.
    mail_planned_at = models.DateTimeField(null=True)
    # Whom it concerns besides those who hold the privilege of its kind.
    accounts: models.ManyToManyField[Any, Any] = models.ManyToManyField(
        settings.AUTH_USER_MODEL, related_name="+", blank=True
    )

    class Meta:
        ordering: ClassVar = ["-raised_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key"],
                condition=Q(resolved_at=None) & ~Q(key=""),
                name="notice_key_open_once",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["-raised_at"], name="notice_raised"),
            models.Index(
                fields=["mail_planned_at"],
                condition=Q(mail_planned_at=None),
                name="notice_mail_to_plan",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def kind_label(self) -> str:
        kind = KINDS.get(self.kind)
        return kind.label if kind else self.kind

    @property
    def badge(self) -> str:
        """The state of components/badge.html that shows the severity."""
        if self.resolved_at is not None:
            return "neutral"
        return {"INFO": "neutral", "WARNING": "attention"}.get(self.severity, "bad")


class NoticeRead(models.Model):
    """This account has read this notice."""

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="reads")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+"
    )
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["notice", "account"], name="notice_read_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.notice} read"


class KindSetting(models.Model):
    """Whether notices of a kind go by mail, and where to besides the accounts."""

    kind = models.CharField(max_length=40, unique=True)
    by_mail = models.BooleanField()
    addresses = models.JSONField(default=list)

    def __str__(self) -> str:
        kind = KINDS.get(self.kind)
        return kind.label if kind else self.kind


class MailOptOut(models.Model):
    """This account wants no mail for notices of this kind."""

    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+"
    )
    kind = models.CharField(max_length=40)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "kind"], name="mail_opt_out_once"
            )
        ]

    def __str__(self) -> str:
        return f"No mail: {self.kind}"


class NoticeMail(models.Model):
    """One notice on its way to one address."""

    class State(models.TextChoices):
        QUEUED = "QUEUED", "Waiting"
        SENT = "SENT", "Sent"
        # Its cause ended, or the account may not see it any more.
        WITHDRAWN = "WITHDRAWN", "No longer needed"
        GIVEN_UP = "GIVEN_UP", "Given up"

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="mails")
    # Null for an address that is entered in the settings.
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+"
    )
    address = models.EmailField(max_length=320)
    state = models.CharField(max_length=9, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveIntegerField(default=0)
    # When it is tried next; a worker that takes it sets it ahead.
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["notice", "address"], name="notice_mail_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"],
                condition=Q(state="QUEUED"),
                name="notice_mail_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.notice} to {self.address}"


class MailServer(models.Model):
    """How sending goes: the one row of what is known of the mail server."""

    last_sent_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return "Mail server"
