"""Hints to look at rows; nothing here is lost or doubled when a message is."""

from celery import shared_task
from django.utils import timezone

from scoping import recompute


@shared_task(name="scoping.tasks.tick")
def tick() -> None:
    """Judge again what changes with time alone."""
    recompute.after_time_passed(now=timezone.now())
