"""What signing in and administering leave behind, cleared away."""

from celery import shared_task
from django.utils import timezone

from jamfidp.accounts import validity
from jamfidp.accounts.session_store import SessionStore


@shared_task(name="jamfidp.accounts.tasks.tick")
def tick() -> None:
    """Forget sessions and privileges that are long over.

    What was changed past the functions that say who did it is found here.
    """
    SessionStore.clear_expired()
    now = timezone.now()
    validity.follow_all(now=now)
    validity.forget(now=now)
