"""Inventory, the objects that are deployed, and who gets them.

References to Entra are (tenant id, object id) in plain columns: no foreign key, so
that they outlive the rows they name and can be shown as broken.
"""

from __future__ import annotations

import unicodedata
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse


class DeviceKind(models.TextChoices):
    COMPUTER = "COMPUTER", "Computer"
    MOBILE = "MOBILE", "Mobile device"


class Site(models.Model):
    """A part of the fleet with administrators of its own."""

    name = models.CharField(max_length=255)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="site_name_unique",
                violation_error_message="Another site has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Building(models.Model):
    name = models.CharField(max_length=255)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="building_name_unique",
                violation_error_message="Another building has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Department(models.Model):
    name = models.CharField(max_length=255)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="department_name_unique",
                violation_error_message="Another department has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class NetworkSegment(models.Model):
    """A range of addresses, both ends included, of one IP version."""

    name = models.CharField(max_length=255)
    starting_address = models.GenericIPAddressField()
    ending_address = models.GenericIPAddressField()

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="network_segment_name_unique",
                violation_error_message="Another network segment has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class InventoryUser(models.Model):
    """A user name that devices report or are assigned to, and who that is in Entra.

    The third kind of user, beside console accounts and directory users: it exists
    because a device names it, whether or not Entra knows it.
    """

    class Match(models.TextChoices):
        MATCHED = "MATCHED", "Matched"
        NONE = "NONE", "Not a directory user"
        AMBIGUOUS = "AMBIGUOUS", "Several directory users"
        UNKNOWN = "UNKNOWN", "Not known yet"
        # The name now leads to another person than before: unknown until confirmed.
        CHANGED = "CHANGED", "Leads to another person now"

    # As reported first; `key` is the NFC, case-folded form that is matched.
    username = models.CharField(max_length=255)
    key = models.CharField(max_length=255, unique=True)
    match = models.CharField(
        max_length=10, choices=Match.choices, default=Match.UNKNOWN
    )
    # Whom the name led to last, and no other verdict than MATCHED says that it still
    # does. Kept, so that somebody else under the same name is noticed.
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    # AMBIGUOUS and CHANGED: [{"tenant_id", "object_id", "name"}], to choose from.
    candidates = models.JSONField(default=list)
    reason = models.CharField(max_length=255, blank=True)
    matched_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["key"]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant_id", "object_id"], name="inventory_user_object"
            )
        ]

    def __str__(self) -> str:
        return self.username


class Device(models.Model):
    """A computer or mobile device of the inventory."""

    class Source(models.TextChoices):
        DIRECTORY = "DIRECTORY", "from Entra"
        PERSON = "PERSON", "typed"
        IMPORT = "IMPORT", "imported"

    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    name = models.CharField(max_length=255)
    serial_number = models.CharField(max_length=64, unique=True)
    model = models.CharField(max_length=255, blank=True)
    os_version = models.CharField(max_length=40, blank=True)
    managed = models.BooleanField(default=True)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True)
    last_reported_ip = models.GenericIPAddressField(null=True, blank=True)
    last_inventory_at = models.DateTimeField(null=True, blank=True)

    # User and Location. `sources` says for each field where its value comes from:
    # {"email": {"source": "DIRECTORY", "by": "...", "at": "..."}}.
    assigned_user = models.ForeignKey(
        InventoryUser,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="assigned_devices",
    )
    real_name = models.CharField(max_length=1024, blank=True)
    email = models.CharField(max_length=1024, blank=True)
    phone = models.CharField(max_length=1024, blank=True)
    position = models.CharField(max_length=1024, blank=True)
    room = models.CharField(max_length=1024, blank=True)
    department = models.ForeignKey(
        Department, models.SET_NULL, null=True, blank=True, related_name="devices"
    )
    building = models.ForeignKey(
        Building, models.SET_NULL, null=True, blank=True, related_name="devices"
    )
    sources = models.JSONField(default=dict)
    # What a search looks through, case-folded; kept by `fill_search`.
    search = models.TextField(blank=True, editable=False)

    class Meta:
        ordering: ClassVar = ["name", "pk"]
        indexes: ClassVar = [
            models.Index(fields=["kind", "name", "id"], name="device_kind_name"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.fill_search()
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        route = "computer" if self.kind == DeviceKind.COMPUTER else "mobiledevice"
        return reverse(f"scoping:{route}-detail", args=[self.pk])

    def fill_search(self) -> None:
        """Renew `search`. Whoever writes devices in bulk calls this before."""
        user_name = self.assigned_user.username if self.assigned_user else ""
        parts = (
            self.name,
            self.serial_number,
            self.model,
            user_name,
            self.real_name,
            self.email,
        )
        self.search = unicodedata.normalize("NFC", "\n".join(parts).casefold())


class LastLogin(models.Model):
    """Who was last logged in to a computer, as one channel reported it.

    No row for a channel: it never reported, which is unknown. A row without a user:
    it reported that nobody is logged in, which is known.
    """

    class Channel(models.TextChoices):
        AGENT = "AGENT", "Agent (policies)"
        MDM = "MDM", "MDM (profiles)"
        SELF_SERVICE = "SELF_SERVICE", "Self Service"

    device = models.ForeignKey(Device, models.CASCADE, related_name="last_logins")
    channel = models.CharField(max_length=12, choices=Channel.choices)
    user = models.ForeignKey(
        InventoryUser, models.PROTECT, null=True, related_name="last_logins"
    )
    reported_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device", "channel"], name="last_login_one_per_channel"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user or 'nobody'} ({self.channel})"


class SmartGroup(models.Model):
    """Devices that meet criteria now (Jamf Pro: smart computer or device group)."""

    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    name = models.CharField(max_length=255)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True)
    # Roaring bitmaps of device ids; a device that left unknown stays as it was.
    members = models.BinaryField(default=bytes)
    unknown = models.BinaryField(default=bytes)
    member_count = models.PositiveIntegerField(default=0)
    unknown_count = models.PositiveIntegerField(default=0)
    computed_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "kind",
                Lower("name"),
                name="smart_group_name_unique",
                violation_error_message="Another smart group has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        device = "computer" if self.kind == DeviceKind.COMPUTER else "mobiledevice"
        return reverse(f"scoping:smart{device}group-detail", args=[self.pk])


class SmartGroupCriterion(models.Model):
    """One criterion, joined to the one before it (Jamf Pro's criterion shape)."""

    group = models.ForeignKey(SmartGroup, models.CASCADE, related_name="criteria")
    priority = models.PositiveSmallIntegerField()
    and_or = models.CharField(max_length=3, default="and")
    name = models.CharField(max_length=255)
    search_type = models.CharField(max_length=40)
    value = models.CharField(max_length=255, blank=True)
    opening_paren = models.BooleanField(default=False)
    closing_paren = models.BooleanField(default=False)
    # For the criterion 'Directory group': the group itself; `value` shows its name.
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    nested = models.BooleanField(default=True)
    # For 'Computer Group' and 'Mobile Device Group': which smart or static group.
    device_group = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering: ClassVar = ["priority"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["group", "priority"], name="criterion_priority_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "object_id"], name="criterion_object")
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.search_type} {self.value}"


class StaticGroup(models.Model):
    """Devices that somebody put into a list."""

    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    name = models.CharField(max_length=255)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True)
    devices = models.ManyToManyField(Device, related_name="static_groups", blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "kind",
                Lower("name"),
                name="static_group_name_unique",
                violation_error_message="Another static group has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        device = "computer" if self.kind == DeviceKind.COMPUTER else "mobiledevice"
        return reverse(f"scoping:static{device}group-detail", args=[self.pk])


class Scope(models.Model):
    """Who gets one object: targets, limitations, exclusions."""

    class Principal(models.TextChoices):
        LOGGED_IN = "LOGGED_IN", "The user last logged in"
        ASSIGNED = "ASSIGNED", "The assigned user"

    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    principal = models.CharField(
        max_length=10, choices=Principal.choices, default=Principal.LOGGED_IN
    )
    # Which channel delivers the object, hence whose last log-in counts.
    channel = models.CharField(
        max_length=12,
        choices=LastLogin.Channel.choices,
        default=LastLogin.Channel.AGENT,
    )
    all_devices = models.BooleanField(default=False)
    # Grows with every saved change, so that a draft of an older one is refused.
    version = models.PositiveIntegerField(default=1)
    # Roaring bitmaps of device ids: decided in scope, and unknown at present.
    decided = models.BinaryField(default=bytes)
    unknown = models.BinaryField(default=bytes)
    decided_count = models.PositiveIntegerField(default=0)
    unknown_count = models.PositiveIntegerField(default=0)
    computed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Scope {self.pk}"


class ScopeEntry(models.Model):
    """One target, limitation or exclusion."""

    class Role(models.TextChoices):
        TARGET = "TARGET", "Target"
        LIMITATION = "LIMITATION", "Limitation"
        EXCLUSION = "EXCLUSION", "Exclusion"

    class Kind(models.TextChoices):
        DEVICE = "DEVICE", "Device"
        SMART_GROUP = "SMART_GROUP", "Smart group"
        STATIC_GROUP = "STATIC_GROUP", "Static group"
        BUILDING = "BUILDING", "Building"
        DEPARTMENT = "DEPARTMENT", "Department"
        NETWORK_SEGMENT = "NETWORK_SEGMENT", "Network segment"
        DIRECTORY_USER = "DIRECTORY_USER", "Directory Service/Local User"
        DIRECTORY_GROUP = "DIRECTORY_GROUP", "Directory Service User Group"

    DIRECTORY: ClassVar = [Kind.DIRECTORY_USER, Kind.DIRECTORY_GROUP]

    scope = models.ForeignKey(Scope, models.CASCADE, related_name="entries")
    role = models.CharField(max_length=10, choices=Role.choices)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # Rows of this console, by primary key.
    ref_id = models.BigIntegerField(null=True)
    # Directory entries. A local user has neither, only `label`, the user name.
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    nested = models.BooleanField(default=True)
    # The name when it was picked; shown when what it names is gone.
    label = models.CharField(max_length=1024, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["scope", "role", "kind", "ref_id"],
                condition=Q(ref_id__isnull=False),
                name="scope_entry_row_unique",
            ),
            models.UniqueConstraint(
                fields=["scope", "role", "kind", "tenant_id", "object_id"],
                condition=~Q(object_id=""),
                name="scope_entry_object_unique",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["kind", "ref_id"], name="scope_entry_row"),
            models.Index(fields=["tenant_id", "object_id"], name="scope_entry_object"),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.label}"


class Policy(models.Model):
    """Work that the agent does on computers."""

    name = models.CharField(max_length=255)
    category = models.CharField(max_length=255, blank=True)
    enabled = models.BooleanField(default=True)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True)
    payload = models.TextField("What it does", blank=True)
    scope = models.OneToOneField(Scope, models.PROTECT, related_name="policy")

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "policies"
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("name"),
                name="policy_name_unique",
                violation_error_message="Another policy has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("scoping:policy-detail", args=[self.pk])


class ConfigurationProfile(models.Model):
    """Settings that MDM installs, on computers or on mobile devices."""

    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    name = models.CharField(max_length=255)
    category = models.CharField(max_length=255, blank=True)
    enabled = models.BooleanField(default=True)
    site = models.ForeignKey(Site, models.PROTECT, null=True, blank=True)
    payload = models.TextField("What it sets", blank=True)
    scope = models.OneToOneField(Scope, models.PROTECT, related_name="profile")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "kind",
                Lower("name"),
                name="configuration_profile_name_unique",
                violation_error_message="Another configuration profile has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        system = "macos" if self.kind == DeviceKind.COMPUTER else "ios"
        return reverse(f"scoping:{system}configurationprofile-detail", args=[self.pk])


class InventoryImport(models.Model):
    """A CSV file of devices, read and checked, until somebody confirms or drops it."""

    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+"
    )
    uploaded_at = models.DateTimeField()
    file_name = models.CharField(max_length=255)
    kind = models.CharField(max_length=8, choices=DeviceKind.choices)
    # For new devices; empty once applied, so that no file holds on to a site.
    site = models.ForeignKey(Site, models.CASCADE, null=True, related_name="+")
    # The rows as read, with what would happen to each and why one is refused.
    rows = models.JSONField(default=list)
    # How the file was read: encoding, delimiter, columns, and what was asked for.
    reading = models.JSONField(default=dict)
    applied_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.file_name
