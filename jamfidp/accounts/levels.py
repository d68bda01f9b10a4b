"""How far privileges reach, and which there are: Jamf Pro's two choices."""

from django.db import models


class AccessLevel(models.TextChoices):
    FULL = "FULL", "Full Access"
    SITE = "SITE", "Site Access"
    GROUP = "GROUP", "Group Access"


class PrivilegeSet(models.TextChoices):
    ADMINISTRATOR = "ADMINISTRATOR", "Administrator"
    AUDITOR = "AUDITOR", "Auditor"
    ENROLLMENT = "ENROLLMENT", "Enrollment Only"
    CUSTOM = "CUSTOM", "Custom"
