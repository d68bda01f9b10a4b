"""What signing in leaves behind, cleared away."""

from celery import shared_task

from jamfidp.accounts.session_store import SessionStore


@shared_task(name="jamfidp.accounts.tasks.tick")
def tick() -> None:
    """Forget sessions that are long over."""
    SessionStore.clear_expired()
