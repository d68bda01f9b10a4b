"""Console accounts, account groups, and what binds them to Entra."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from django.contrib.auth import get_backends
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower
from django.urls import reverse

from jamfidp.access import SiteAccess
from jamfidp.accounts.levels import AccessLevel as AccessLevel
from jamfidp.accounts.levels import PrivilegeSet as PrivilegeSet
from jamfidp.accounts.privileges import BY_PERMISSION


class User(AbstractBaseUser):
    """A console account, local or of somebody who signs in with Entra.

    A person from Entra is (tenant_id, object_id); name and mail are for showing.
    An account with its own Full or Site Access has its own privileges alone; Group
    Access inherits those of its account groups.
    """

    username = models.CharField(max_length=255, unique=True)
    full_name = models.CharField(max_length=255, blank=True)
    email = models.CharField("email address", max_length=320, blank=True)
    is_active = models.BooleanField("enabled", default=True)
    access_level = models.CharField(
        max_length=5, choices=AccessLevel.choices, default=AccessLevel.GROUP
    )
    privilege_set = models.CharField(
        max_length=13, choices=PrivilegeSet.choices, default=PrivilegeSet.CUSTOM
    )
    # For CUSTOM: Jamf Pro's privilege names.
    privileges = models.JSONField(default=list, blank=True)
    site = models.ForeignKey("scoping.Site", models.PROTECT, null=True, blank=True)
    # Empty for a local account.
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    created_at = models.DateTimeField()
    groups: models.ManyToManyField[AccountGroup, Any] = models.ManyToManyField(
        "AccountGroup", related_name="accounts", blank=True
    )

    # Whether the session was opened by somebody who is not blocked; not stored.
    let_in = False
    # The site that this session looks at alone (`site_choice`); not stored.
    chosen_site: Any = None

    USERNAME_FIELD = "username"
    objects = BaseUserManager["User"]()

    class Meta:
        ordering: ClassVar = ["username"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("username"),
                name="account_username_unique",
                violation_error_message="Another account has this username.",
            ),
            models.UniqueConstraint(
                fields=["tenant_id", "object_id"],
                condition=~Q(object_id=""),
                name="account_entra_object_unique",
            ),
            models.CheckConstraint(
                condition=Q(access_level="SITE", site__isnull=False)
                | (~Q(access_level="SITE") & Q(site__isnull=True)),
                name="account_site_access_has_site",
            ),
        ]

    def __str__(self) -> str:
        return self.full_name or self.username

    def get_absolute_url(self) -> str:
        return reverse("accounts:user-detail", args=[self.pk])

    @property
    def is_local(self) -> bool:
        return not self.object_id

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        return any(backend.has_perm(self, perm, obj) for backend in get_backends())

    def has_module_perms(self, app_label: str) -> bool:
        return any(
            backend.has_module_perms(self, app_label)  # type: ignore[attr-defined]
            for backend in get_backends()
        )

    def privilege_name(self, perm: str) -> str:
        """What administrators call a permission: Jamf Pro's privilege name."""
        privilege = BY_PERMISSION.get(perm)
        return privilege.name if privilege else perm

    @property
    def site_choices(self) -> Any:
        """The sites to choose from, for templates."""
        (backend,) = get_backends()
        return backend.site_choices(self)  # type: ignore[attr-defined]

    def sites_with(self, perm: str) -> SiteAccess:
        (backend,) = get_backends()
        access: SiteAccess = backend.sites_with(self, perm)  # type: ignore[attr-defined]
        return access


class AccountGroup(models.Model):
    """Privileges that several accounts share, of the standard type."""

    display_name = models.CharField(max_length=255)
    access_level = models.CharField(
        max_length=5,
        choices=[
            (AccessLevel.FULL.value, AccessLevel.FULL.label),
            (AccessLevel.SITE.value, AccessLevel.SITE.label),
        ],
        default=AccessLevel.FULL,
    )
    privilege_set = models.CharField(
        max_length=13, choices=PrivilegeSet.choices, default=PrivilegeSet.CUSTOM
    )
    privileges = models.JSONField(default=list, blank=True)
    site = models.ForeignKey("scoping.Site", models.PROTECT, null=True, blank=True)
    accounts: models.Manager[User]

    class Meta:
        ordering: ClassVar = ["display_name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                Lower("display_name"),
                name="account_group_name_unique",
                violation_error_message="Another account group has this name.",
            ),
            models.CheckConstraint(
                condition=Q(access_level="FULL", site__isnull=True)
                | Q(access_level="SITE", site__isnull=False),
                name="account_group_site_access_has_site",
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    def get_absolute_url(self) -> str:
        return reverse("accounts:accountgroup-detail", args=[self.pk])


class DirectoryBinding(models.Model):
    """Members of this directory group are members of the account group.

    Bound by (tenant id, object id). The name is what it was called when it was bound:
    a later drift is shown, and the name never binds.
    """

    account_group = models.ForeignKey(
        AccountGroup, models.CASCADE, related_name="bindings"
    )
    tenant_id = models.CharField(max_length=36)
    object_id = models.CharField(max_length=36)
    nested = models.BooleanField(
        default=False,
        help_text="Members of groups inside this group count as well.",
    )
    name_when_bound = models.CharField(max_length=256)
    bound_by_name = models.CharField(max_length=255)
    bound_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account_group", "tenant_id", "object_id"],
                name="directory_binding_unique",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant_id", "object_id"], name="directory_binding_object"
            )
        ]

    def __str__(self) -> str:
        return self.name_when_bound


class Validity(models.Model):
    """From when until when something was so, and by whom it began and ended.

    `earlier` says that it was so already when this began to be remembered. Rows name
    accounts and groups by number, since they outlive them.
    """

    from_at = models.DateTimeField()
    from_by_name = models.CharField(max_length=255, blank=True)
    earlier = models.BooleanField(default=False)
    to_at = models.DateTimeField(null=True)
    to_by_name = models.CharField(max_length=255, blank=True)

    class Meta:
        abstract = True


class PrivilegesInterval(Validity):
    """What an account or an account group was given: access level and privileges."""

    # One of the two.
    account_id = models.IntegerField(null=True)
    account_group_id = models.IntegerField(null=True)
    # As it was called last.
    name = models.CharField(max_length=255)
    # Of an account.
    enabled = models.BooleanField(default=True)
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    access_level = models.CharField(max_length=5, choices=AccessLevel.choices)
    privilege_set = models.CharField(max_length=13, choices=PrivilegeSet.choices)
    privileges = models.JSONField(default=list)
    site_id = models.IntegerField(null=True)
    site_name = models.CharField(max_length=255, blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account_id"],
                condition=Q(to_at=None),
                name="privileges_interval_account",
            ),
            models.UniqueConstraint(
                fields=["account_group_id"],
                condition=Q(to_at=None),
                name="privileges_interval_group",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["to_at"], name="privileges_interval_ended")
        ]

    def __str__(self) -> str:
        return f"What {self.name} was given until {self.to_at}"


class BindingInterval(Validity):
    """A directory group was bound to an account group."""

    account_group_id = models.IntegerField()
    tenant_id = models.CharField(max_length=36)
    object_id = models.CharField(max_length=36)
    nested = models.BooleanField()
    name = models.CharField(max_length=256)

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account_group_id", "tenant_id", "object_id"],
                condition=Q(to_at=None),
                name="binding_interval_one_open",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["to_at"], name="binding_interval_ended")
        ]

    def __str__(self) -> str:
        return f"{self.name} bound until {self.to_at}"


class AssignmentInterval(Validity):
    """An account was assigned to an account group."""

    account_id = models.IntegerField()
    account_group_id = models.IntegerField()

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account_id", "account_group_id"],
                condition=Q(to_at=None),
                name="assignment_interval_one_open",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["to_at"], name="assignment_interval_ended")
        ]

    def __str__(self) -> str:
        return f"{self.account_id} in {self.account_group_id} until {self.to_at}"


class SignInRequest(models.Model):
    """One attempt to sign in with Entra: ten minutes, one browser, one use."""

    state_hash = models.CharField(max_length=64, unique=True)
    browser_hash = models.CharField(max_length=64)
    cloud = models.CharField(max_length=20)
    # Empty where Microsoft finds out which tenant the person belongs to.
    tenant_id = models.CharField(max_length=36, blank=True)
    # Who began it, as far as it counts: a network for IPv6.
    address = models.GenericIPAddressField(null=True)
    # Sealed JSON: PKCE verifier and nonce.
    flow_sealed = models.TextField()
    next_path = models.CharField(max_length=2048, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="sign_in_request_expires"),
            models.Index(fields=["address", "created_at"], name="sign_in_request_from"),
        ]

    def __str__(self) -> str:
        return f"Sign-in request {self.pk}"


class EntraSignInStop(models.Model):
    """Sign-in with Entra is stopped: by one connection's tenant, or by all."""

    # Empty: all connections, also those that come later.
    tenant_id = models.CharField(max_length=36, blank=True)
    reason = models.TextField()
    stopped_at = models.DateTimeField()
    stopped_by_name = models.CharField(max_length=255)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-stopped_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id"],
                condition=Q(lifted_at=None),
                name="entra_sign_in_stopped_once",
            )
        ]

    def __str__(self) -> str:
        return "Sign-in with Entra"


class BlockQuerySet(models.QuerySet["Block"]):
    def in_force(self) -> BlockQuerySet:
        return self.filter(lifted_at=None)


class Block(models.Model):
    """A person is kept out of this console, whatever their account or groups say.

    A person of Entra is (tenant_id, object_id) and can be blocked without an account;
    the block outlives an account that is deleted.
    """

    account = models.ForeignKey(User, models.SET_NULL, null=True, related_name="blocks")
    tenant_id = models.CharField(max_length=36, blank=True)
    object_id = models.CharField(max_length=36, blank=True)
    name = models.CharField(max_length=255)
    reason = models.TextField()
    blocked_at = models.DateTimeField()
    blocked_by_name = models.CharField(max_length=255)
    lifted_at = models.DateTimeField(null=True)

    objects = BlockQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-blocked_at"]
        indexes: ClassVar = [
            models.Index(fields=["tenant_id", "object_id"], name="block_person")
        ]

    def __str__(self) -> str:
        return self.name


def not_blocked() -> Q:
    """The condition that an account is not blocked, by itself or as a person."""
    as_account = Block.objects.in_force().filter(account=OuterRef("pk"))
    as_person = (
        Block.objects.in_force()
        .exclude(object_id="")
        .filter(tenant_id=OuterRef("tenant_id"), object_id=OuterRef("object_id"))
    )
    return ~Q(Exists(as_account)) & ~Q(Exists(as_person))


class AccountSession(models.Model):
    """One session of a browser. The cookie's key is not here, only its hash."""

    class Over(models.TextChoices):
        ENDED = "ended", "Ended"
        LIMIT = "limit", "Too long after the sign-in"
        IDLE = "idle", "Nothing was done in it"

    key_hash = models.CharField(max_length=64, unique=True)
    # As Django encodes it: signed, not secret.
    data = models.TextField()
    # Null before the sign-in is complete.
    account = models.ForeignKey(
        User, models.CASCADE, null=True, related_name="sessions"
    )
    how = models.CharField(max_length=60, blank=True)
    address = models.GenericIPAddressField(null=True)
    browser = models.CharField(max_length=200, blank=True)
    signed_in_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True)
    # One sentence for the person whose session it was.
    ended_because = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering: ClassVar = ["-last_seen_at"]

    def __str__(self) -> str:
        return f"Session of {self.account or 'nobody'}"


class AuthenticatorApp(models.Model):
    """An app that shows a new six-digit code every half minute (TOTP, RFC 6238)."""

    # Known before the row is saved: the secret is sealed for it.
    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    account = models.ForeignKey(User, models.CASCADE, related_name="authenticator_apps")
    secret_sealed = models.TextField()
    created_at = models.DateTimeField()
    # Null until a code of it was seen: it does not count before.
    confirmed_at = models.DateTimeField(null=True)
    # The half minute of the last code that was taken; none up to it is taken again.
    last_step = models.BigIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account"],
                condition=Q(confirmed_at=None),
                name="authenticator_app_one_pending",
            ),
            models.UniqueConstraint(
                fields=["account"],
                condition=Q(confirmed_at__isnull=False),
                name="authenticator_app_one_confirmed",
            ),
        ]

    def __str__(self) -> str:
        return "Authenticator app"


class Passkey(models.Model):
    """A key of the person's device or security key (WebAuthn); only it can sign."""

    account = models.ForeignKey(User, models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=100)
    # Base64url, as browsers write it.
    credential_id = models.CharField(max_length=1400, unique=True)
    public_key = models.BinaryField()
    sign_count = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["created_at"]

    def __str__(self) -> str:
        return self.name


class RecoveryCode(models.Model):
    """Takes the place of a lost second factor, once; kept as a hash."""

    account = models.ForeignKey(User, models.CASCADE, related_name="recovery_codes")
    code_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "code_hash"], name="recovery_code_unique"
            )
        ]

    def __str__(self) -> str:
        return "Recovery code"


class SignInConfirmation(models.Model):
    """What Microsoft Graph said of a person at their last sign-in.

    It counts in place of the directory's rows until a read that began later.
    """

    tenant_id = models.CharField(max_length=36)
    object_id = models.CharField(max_length=36)
    at = models.DateTimeField()
    enabled = models.BooleanField(null=True)
    user_type = models.CharField(max_length=40, blank=True)
    # Those of the bound directory groups that hold the person, nested ones included.
    group_ids = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id", "object_id"], name="sign_in_confirmation_person"
            )
        ]

    def __str__(self) -> str:
        return f"Sign-in of {self.object_id}"


class FailedSignIn(models.Model):
    """A refused sign-in: guessing is slowed per account, browser and address.

    The user name is kept as a keyed hash: people type passwords into that field.
    """

    at = models.DateTimeField(db_index=True)
    username_key = models.CharField(max_length=64, db_index=True)
    # Of a browser that has signed in to this account before; empty for strangers.
    browser_hash = models.CharField(max_length=64, blank=True)
    address = models.GenericIPAddressField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"Sign-in from {self.address or 'an unknown address'}"


class SetupCode(models.Model):
    """Lets whoever runs the console make its first administrator, once."""

    code_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return "Set-up code"
