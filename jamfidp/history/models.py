from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class ObjectHistory(models.Model):
    """One change of one object, as Jamf Pro's History tab shows it.

    The object is named by label and primary key, without a foreign key, so that
    history outlives it and never stands in the way of a deletion.
    """

    at = models.DateTimeField(db_index=True)
    # Null when the console itself acted (a sync, a schedule).
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    actor_name = models.CharField(max_length=255)
    object_label = models.CharField(max_length=100)
    object_pk = models.CharField(max_length=64)
    object_name = models.CharField(max_length=255)
    # The site the object had, so that history is filtered as the object was.
    site_id = models.BigIntegerField(null=True)
    action = models.CharField(max_length=40)
    note = models.TextField()
    details = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        verbose_name_plural = "object history"
        indexes: ClassVar = [
            models.Index(
                fields=["object_label", "object_pk", "-at"], name="history_object"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.note}"
