"""Mail on its way. Repeating or losing a tick repeats and loses nothing."""

from celery import shared_task
from django.utils import timezone

from jamfidp.notices import mail


@shared_task(name="jamfidp.notices.tasks.tick")
def tick() -> None:
    """Write down and send the mails of notices; forget old ones."""
    now = timezone.now()
    mail.plan(now=now)
    mail.deliver(now=now)
    mail.clear_leftovers(now=now)
