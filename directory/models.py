"""Connections to Entra tenants, and the console's copy of what they hold.

Directory rows are a cache: only `directory.sync` writes them. Everything that
refers to a person or a group from elsewhere does so by (tenant id, object id),
without a foreign key, so that a reference outlives the row.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from pyroaring import BitMap

from jamfidp import crypto

# Jamf Pro numbers cloud identity providers from 1001, above its LDAP servers.
FIRST_CLOUD_IDP_ID = 1001


class ApplicationRegistration(models.Model):
    """An application registration at Microsoft, with credentials of its own.

    The deployment has one in each Microsoft cloud, and connections use it. A connection
    may have another one for itself alone.
    """

    cloud = models.CharField(max_length=20)
    client_id = models.CharField(max_length=36)
    # Not the deployment's: only the connection that names it uses it.
    for_one_connection = models.BooleanField(default=False)
    changed_at = models.DateTimeField()

    class Meta:
        permissions: ClassVar = []
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud"],
                condition=Q(for_one_connection=False),
                name="application_registration_cloud",
            ),
            models.UniqueConstraint(
                fields=["cloud", "client_id"],
                name="application_registration_client_id",
            ),
        ]

    def __str__(self) -> str:
        if self.for_one_connection:
            return f"Entra ID application {self.client_id}"
        return f"Entra ID application ({self.cloud})"

    def get_absolute_url(self) -> str:
        if self.for_one_connection:
            return reverse("directory:own-registration-detail", args=[self.pk])
        return reverse("directory:application-registration-cloud", args=[self.cloud])


class ApplicationCredential(models.Model):
    """What an application registration proves itself with.

    Two may be in use at once, so that one is replaced without a gap. A generated
    certificate is not in use before it stands at Microsoft.
    """

    class Kind(models.TextChoices):
        SECRET = "SECRET", "Client secret"
        CERTIFICATE = "CERTIFICATE", "Certificate"
        ASSERTION = "ASSERTION", "Federated assertion"

    registration = models.ForeignKey(
        ApplicationRegistration, models.CASCADE, related_name="credentials"
    )
    kind = models.CharField(max_length=12, choices=Kind.choices)
    in_use = models.BooleanField(default=True)
    # A secret or a private key, sealed with jamfidp.crypto; write-only in the interface.
    sealed = models.TextField(blank=True)
    certificate_pem = models.TextField(blank=True)
    # Where the platform writes the assertion; the assertion itself is never stored.
    assertion_file = models.CharField(max_length=500, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # How many days before the end it was announced last; see directory.expiry.
    announced_days = models.PositiveSmallIntegerField(null=True)
    added_at = models.DateTimeField()
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    # Microsoft's last refusal, until it accepts the credential again.
    refused_at = models.DateTimeField(null=True, blank=True)
    refusals = models.PositiveSmallIntegerField(default=0)
    refused_detail = models.TextField(blank=True)
    refused_code = models.CharField(max_length=60, blank=True)
    refused_request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        ordering: ClassVar = ["-added_at", "-pk"]

    def __str__(self) -> str:
        match self.kind:
            case self.Kind.ASSERTION:
                return f"federated assertion in {self.assertion_file}"
            case self.Kind.CERTIFICATE:
                return f"certificate {self.fingerprint[:12]}"
        return f"client secret {self.fingerprint}"

    @property
    def expiry_key(self) -> str:
        """The key of the notice that it expires."""
        return f"credential-expiry:{self.pk}"

    @property
    def refusal_key(self) -> str:
        """The key of the notice that Microsoft refuses it."""
        return f"credential-refused:{self.pk}"

    @property
    def notice_keys(self) -> tuple[str, str]:
        return self.expiry_key, self.refusal_key

    def seal(self, plaintext: str) -> str:
        """Encrypt for this row, which has to be saved before."""
        return crypto.encrypt(
            plaintext, model=self._meta.label_lower, pk=str(self.pk), field=self.kind
        )

    def unseal(self) -> str:
        """Decrypt. Raises crypto.KeyUnavailable or DecryptionFailed."""
        return crypto.decrypt(
            self.sealed, model=self._meta.label_lower, pk=str(self.pk), field=self.kind
        )


class StandingConnections(models.Manager["CloudIdentityProvider"]):
    """Connections that were not deleted: to everything else a deleted one is no more."""

    def get_queryset(self) -> models.QuerySet[CloudIdentityProvider]:
        return super().get_queryset().filter(deleted_at=None)


class CloudIdentityProvider(models.Model):
    """A connection to one Entra tenant (Jamf Pro: cloud identity provider, AZURE).

    A deleted one keeps its rows until they are erased, and grants nothing meanwhile.
    """

    class Status(models.TextChoices):
        """What Microsoft last made of the connection; see directory.status_table."""

        ACTIVE = "ACTIVE", "Active"
        PENDING_CONSENT = "PENDING_CONSENT", "Pending consent"
        PERMISSIONS_MISSING = "PERMISSIONS_MISSING", "Permissions missing"
        CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN", "Consent withdrawn"
        APPLICATION_REMOVED = "APPLICATION_REMOVED", "Application removed"
        APPLICATION_DISABLED = "APPLICATION_DISABLED", "Application disabled"
        CREDENTIALS = "CREDENTIALS", "Credentials refused"
        CREDENTIALS_EXPIRED = "CREDENTIALS_EXPIRED", "Credentials expired"
        CREDENTIALS_MISSING = "CREDENTIALS_MISSING", "Credentials missing"
        KEY_UNAVAILABLE = "KEY_UNAVAILABLE", "Credentials cannot be read"
        BLOCKED = "BLOCKED", "Blocked by Conditional Access"
        WRONG_CLOUD = "WRONG_CLOUD", "Wrong cloud"
        TENANT_GONE = "TENANT_GONE", "Tenant not found"
        REFUSED = "REFUSED", "Refused by Microsoft"
        THROTTLED = "THROTTLED", "Throttled by Microsoft"
        UNREACHABLE = "UNREACHABLE", "Microsoft not reached"

    display_name = models.CharField(max_length=255)
    provider_name = models.CharField(max_length=20, default="AZURE", editable=False)
    enabled = models.BooleanField(default=True)

    cloud = models.CharField(max_length=20)
    # None: the deployment's registration in this cloud.
    own_registration = models.OneToOneField(
        ApplicationRegistration, models.PROTECT, null=True, related_name="cloud_idp"
    )
    tenant_id = models.CharField(max_length=36, db_index=True)
    tenant_name = models.CharField(max_length=255)
    verified_domains = models.JSONField(default=list)

    # Who gave consent at Microsoft, and which console user began it.
    consented_by_name = models.CharField(max_length=255)
    consented_by_upn = models.CharField(max_length=320)
    consented_by_object_id = models.CharField(max_length=36)
    consented_at = models.DateTimeField()
    # To which application; another one has to be consented to anew.
    consented_client_id = models.CharField(max_length=36, blank=True)
    connected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    permissions_probed = models.JSONField(default=list)
    # What Entra wrote into the token that was issued last, to be shown; null: not seen.
    roles_granted = models.JSONField(null=True)
    roles_seen_at = models.DateTimeField(null=True)

    search_timeout = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(5), MaxValueValidator(600)],
        help_text="Seconds to wait for one directory look-up (5 to 600).",
    )
    transitive_membership_enabled = models.BooleanField(
        "Transitive groups for Single Sign-On", default=True
    )
    transitive_directory_membership_enabled = models.BooleanField(
        "Transitive groups for directory workflows", default=True
    )

    # Which reported user names this connection may match (architecture: who is who).
    match_domains = models.JSONField(default=list, blank=True)
    match_names_without_domain = models.BooleanField(default=True)

    status = models.CharField(
        max_length=24, choices=Status.choices, default=Status.ACTIVE
    )
    status_since = models.DateTimeField()
    # The evidence: our sentence, what it advises, Microsoft's code and request id, and
    # when it was seen last.
    status_detail = models.TextField(blank=True)
    status_advice = models.TextField(blank=True)
    status_code = models.CharField(max_length=60, blank=True)
    status_request_id = models.CharField(max_length=64, blank=True)
    status_seen_at = models.DateTimeField(null=True)
    # Checks with a token that was issued for them; see directory.checking.
    checked_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True)
    failed_checks = models.PositiveSmallIntegerField(default=0)
    # Microsoft's Retry-After: before that it is not asked by itself.
    asked_to_wait_until = models.DateTimeField(null=True)
    # When a process last got a token, and the latest end of all that were issued.
    token_issued_at = models.DateTimeField(null=True)
    token_expires_at = models.DateTimeField(null=True)

    # Saved in the transaction that applies the data they follow.
    users_delta_link = models.TextField(blank=True)
    groups_delta_link = models.TextField(blank=True)
    # What the delta links select (mappings, filters): another selection needs another
    # full read, since Graph keeps it in the link and the rows hold only what passed.
    delta_selection = models.TextField(blank=True)
    # Which people and groups are read, see directory.sync.filters; empty: all.
    read_filter = models.JSONField(default=dict, blank=True)
    # When it is read, see directory.schedules; null: as the settings and usage have it.
    delta_minutes = models.PositiveSmallIntegerField(null=True)
    full_read_hour = models.PositiveSmallIntegerField(
        null=True, validators=[MaxValueValidator(23)]
    )
    # Why the next read has to be a full one; empty when it need not.
    full_read_reason = models.CharField(max_length=255, blank=True)
    first_complete_read_at = models.DateTimeField(null=True, blank=True)
    last_full_read_at = models.DateTimeField(null=True, blank=True)
    last_good_read_at = models.DateTimeField(null=True, blank=True)
    # When the console's database was restored from a backup: until a good read that
    # began later, nothing read before gives a privilege.
    restored_at = models.DateTimeField(null=True, blank=True)
    next_sync_at = models.DateTimeField(null=True, blank=True)
    # Grows with every applied run; cached results say for which generation they hold.
    generation = models.PositiveIntegerField(default=0)

    deleted_at = models.DateTimeField(null=True, blank=True)
    deleted_by_name = models.CharField(max_length=255, blank=True)
    # From then on what was read of the tenant is erased, and cannot be taken up again.
    erase_at = models.DateTimeField(null=True, blank=True)
    # When a worker last said that it is erasing.
    erasing_at = models.DateTimeField(null=True, blank=True)

    objects = StandingConnections()
    with_deleted = models.Manager["CloudIdentityProvider"]()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant_id"],
                condition=Q(deleted_at=None),
                name="cloud_idp_tenant_once",
            ),
            models.UniqueConstraint(
                Lower("display_name"),
                condition=Q(deleted_at=None),
                name="cloud_idp_display_name_unique",
                violation_error_message=(
                    "Another cloud identity provider has this display name."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    def get_absolute_url(self) -> str:
        return reverse("directory:cloud-idp-detail", args=[self.pk])

    @property
    def completely_read(self) -> bool:
        """Unknown is not no: until one full read was applied, absence means nothing."""
        return self.first_complete_read_at is not None

    @property
    def status_sentences(self) -> str:
        """What went wrong, and what Microsoft's answer advises; empty while it works."""
        return " ".join(filter(None, (self.status_detail, self.status_advice)))


class GuardLimits(models.Model):
    """From when on losses of a connection are held; without a row the defaults hold."""

    cloud_idp = models.OneToOneField(
        CloudIdentityProvider, models.CASCADE, related_name="guard_limits"
    )
    people_percent = models.PositiveSmallIntegerField("People lost, percent")
    people_absolute = models.PositiveIntegerField("People lost")
    memberships_percent = models.PositiveSmallIntegerField("Memberships lost, percent")
    memberships_absolute = models.PositiveIntegerField("Memberships lost")
    # Of each group that a scope or privilege uses.
    members_percent = models.PositiveSmallIntegerField("Members of a group, percent")
    members_absolute = models.PositiveIntegerField("Members of a group")

    def __str__(self) -> str:
        return f"Limits of {self.cloud_idp}"


class TlsConnection(models.Model):
    """Which TLS a connection last spoke with one of Microsoft's hosts."""

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, related_name="tls"
    )
    host = models.CharField(max_length=255)
    # TLS 1.3, and OpenSSL's name of the suite: TLS_AES_256_GCM_SHA384.
    protocol = models.CharField(max_length=20)
    cipher = models.CharField(max_length=100)
    # Who issued the certificate: a proxy that inspects TLS shows here.
    issuer = models.CharField(max_length=255, blank=True)
    at = models.DateTimeField()
    protocol_since = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "host"], name="tls_connection_host"
            )
        ]
        ordering: ClassVar = ["host"]

    def __str__(self) -> str:
        return f"{self.protocol} with {self.host}"


class PermissionUse(models.Model):
    """How often a feature used a permission on one day; see directory.permission_use."""

    id = models.BigAutoField(primary_key=True)
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        related_name="permission_uses",
        db_index=False,
    )
    permission = models.CharField(max_length=60)
    feature = models.CharField(max_length=20)
    day = models.DateField()
    times = models.PositiveIntegerField()

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "day", "permission", "feature"],
                name="permission_use_of_the_day",
            )
        ]

    def __str__(self) -> str:
        return f"{self.permission} by {self.feature} on {self.day}"


class AttributeMappings(models.Model):
    """Which Graph property fills which Jamf Pro attribute, with Jamf's defaults."""

    cloud_idp = models.OneToOneField(
        CloudIdentityProvider, models.CASCADE, related_name="mappings"
    )
    user_id = models.CharField("User ID", max_length=100, default="id")
    user_name = models.CharField(
        "Username", max_length=100, default="userPrincipalName"
    )
    real_name = models.CharField(
        "Real name", max_length=100, default="displayName", blank=True
    )
    email = models.CharField(
        "Email address", max_length=100, default="mail", blank=True
    )
    department = models.CharField(max_length=100, default="department", blank=True)
    building = models.CharField(max_length=100, default="", blank=True)
    room = models.CharField(max_length=100, default="", blank=True)
    phone = models.CharField(max_length=100, default="mobilePhone", blank=True)
    position = models.CharField(max_length=100, default="jobTitle", blank=True)
    group_id = models.CharField("Group ID", max_length=100, default="id")
    group_name = models.CharField("Group name", max_length=100, default="displayName")

    class Meta:
        verbose_name_plural = "attribute mappings"

    def __str__(self) -> str:
        return f"Mappings of {self.cloud_idp}"


class MappingDraft(models.Model):
    """Other mappings that somebody looks at, and what they would do; never in effect.

    A worker reads everybody and counts. Whoever proposes others for the connection
    replaces it. Holds the names that a page has to say; it is deleted when the mappings
    are saved or dropped, and after a day.
    """

    class State(models.TextChoices):
        WAITING = "WAITING", "Waiting for a worker"
        READING = "READING", "Reading"
        READY = "READY", "Ready"
        FAILED = "FAILED", "Not known"

    ACTIVE: ClassVar = [State.WAITING, State.READING]

    cloud_idp = models.OneToOneField(
        CloudIdentityProvider, models.CASCADE, related_name="mapping_draft"
    )
    # By attribute; and what stands now, with the options that decide who matches.
    mappings = models.JSONField()
    basis = models.JSONField()
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.WAITING
    )
    # From Microsoft Graph, or from the rows, which hold all that is needed.
    live = models.BooleanField(default=True)
    # Of the connection when reading began.
    generation = models.PositiveIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    fencing_token = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=100, blank=True)
    pages = models.PositiveIntegerField(default=0)
    people_read = models.PositiveIntegerField(default=0)
    effect = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    advice = models.TextField(blank=True)
    reference = models.CharField(max_length=150, blank=True)

    class Meta:
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return f"Other mappings of {self.cloud_idp}"

    def get_absolute_url(self) -> str:
        return reverse("directory:mapping-effect", args=[self.cloud_idp_id])

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE


class SentRequest(models.Model):
    """A request for consent, sent to a Global Administrator who has no account here.

    Its link is opened once, in one browser, within 72 hours, until somebody revokes it.
    What comes of it is the attempt that began when it was opened.
    """

    # The token stands in the link alone; sealed here, so that it can be copied again.
    token_hash = models.CharField(max_length=64, unique=True)
    token_sealed = models.TextField(blank=True)
    registration = models.ForeignKey(
        ApplicationRegistration, models.CASCADE, related_name="+"
    )
    cloud = models.CharField(max_length=20)
    # Set when an existing connection is consented again: the same tenant only.
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        null=True,
        related_name="sent_requests",
    )
    # Whoever sent it has to be allowed to, still, whenever the link is used.
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    started_by_name = models.CharField(max_length=255)
    recipient = models.CharField(max_length=320, blank=True)
    mailed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions: ClassVar = ()
        ordering: ClassVar = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"Request {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("directory:sent-request-detail", args=[self.pk])

    @property
    def notice_key(self) -> str:
        """The key of the notice that it was answered."""
        return f"sent-request:{self.pk}"

    def seal(self, token: str) -> str:
        """Encrypt the token for this row; its hash stands in for the key."""
        return crypto.encrypt(
            token, model=self._meta.label_lower, pk=self.token_hash, field="token"
        )

    def unseal(self) -> str:
        """Decrypt. Raises crypto.KeyUnavailable or DecryptionFailed."""
        return crypto.decrypt(
            self.token_sealed,
            model=self._meta.label_lower,
            pk=self.token_hash,
            field="token",
        )


class ConsentRequest(models.Model):
    """One attempt to connect a tenant, from 'New' to 'Save'.

    Belongs to one browser and one person, or to one browser and the request that was
    opened in it. Lives ten minutes until the answer comes back, and its state works
    once. Holds what was verified until somebody saves it; nothing else of the attempt
    is kept.
    """

    class Step(models.TextChoices):
        STARTED = "STARTED", "Waiting for Microsoft's answer"
        ANSWERED = "ANSWERED", "Answer received, being verified"
        VERIFIED = "VERIFIED", "Verified, waiting for Save"
        SAVED = "SAVED", "Saved"
        FAILED = "FAILED", "Not connected"

    state_hash = models.CharField(max_length=64, unique=True)
    browser_hash = models.CharField(max_length=64)
    # None when it began with a request that was sent: nobody is signed in there.
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+"
    )
    sent_request = models.OneToOneField(
        SentRequest, models.CASCADE, null=True, related_name="attempt"
    )
    cloud = models.CharField(max_length=20)
    registration = models.ForeignKey(
        ApplicationRegistration, models.CASCADE, related_name="+"
    )
    # Set when an existing connection is consented again: the same tenant only.
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, null=True, related_name="+"
    )
    # Sealed JSON: PKCE verifier and nonce. Emptied when the code is redeemed.
    flow_sealed = models.TextField(blank=True)
    step = models.CharField(max_length=10, choices=Step.choices, default=Step.STARTED)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    # The id of the connector's answer: each is taken once.
    answer_id = models.CharField(max_length=64, null=True, blank=True, unique=True)
    # When the session with Microsoft was ended, after success and after failure.
    session_ended_at = models.DateTimeField(null=True)
    # What was verified: tenant, domains, who signed in, permissions. No token.
    verified = models.JSONField(default=dict)
    failure = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="consent_request_expires")
        ]

    def __str__(self) -> str:
        return f"Consent request {self.pk}"


class DirectoryObject(models.Model):
    """The number of a tenant's object in this console, given at first sight for good.

    Everything that holds many objects (memberships, closure, bitmaps, intervals)
    names them by this number, which fits 32 bits for the bitmaps' sake. It is given
    also to what is merely mentioned, so that no order of arrival matters, and is
    never given twice.
    """

    class Kind(models.TextChoices):
        USER = "U", "User"
        GROUP = "G", "Group"
        # Devices, applications, contacts: counted as members, otherwise not known.
        OTHER = "O", "Other"

    id = models.AutoField(primary_key=True)
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        related_name="objects_seen",
        db_constraint=False,
        db_index=False,
    )
    object_id = models.CharField(max_length=36)
    kind = models.CharField(max_length=1, choices=Kind.choices)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "object_id"], name="directory_object_object_id"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.object_id}"


class ObservedHash(models.Model):
    """A hash of one person's or group's properties as Entra last sent them.

    With what was selected of them: what has the same hash did not change, and no row
    need be looked at to know it. Only what Entra lists now has one. Apart from the
    object's number, which is given before the answer is applied.
    """

    pk = models.CompositePrimaryKey("cloud_idp_id", "number")
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        related_name="observed_hashes",
        db_constraint=False,
        db_index=False,
    )
    number = models.IntegerField()
    value = models.BigIntegerField()

    def __str__(self) -> str:
        return f"Hash of {self.number}"


class State(models.TextChoices):
    """What became of a person or group in Entra, as far as the console was told.

    Each is another thing: what is deleted can come back with its memberships, what is
    gone cannot, and what is filtered out or not readable may well be in Entra.
    """

    PRESENT = "PRESENT", "In the directory"
    # In Entra's recycle bin: can be restored for 30 days, memberships included.
    DELETED = "DELETED", "Deleted, can be restored"
    GONE = "GONE", "Deleted for good"
    FILTERED = "FILTERED", "Filtered out"
    # Entra still names it as a member and no longer hands it over.
    UNREADABLE = "UNREADABLE", "No longer readable"
    # Named as a member before it was read itself.
    MENTIONED = "MENTIONED", "Not read yet"


# Of these nothing is known: who is in them, or whether the person is in anything.
UNKNOWN_STATES = (State.FILTERED, State.UNREADABLE, State.MENTIONED)


def _deleted_connections() -> list[int]:
    """Asked for by itself: as a part of the query it would cost each row a look."""
    deleted = CloudIdentityProvider.with_deleted.filter(deleted_at__isnull=False)
    return list(deleted.values_list("pk", flat=True))


class DirectoryUserQuerySet(models.QuerySet["DirectoryUser"]):
    def connected(self) -> DirectoryUserQuerySet:
        """Without the people of deleted connections, who wait to be erased."""
        deleted = _deleted_connections()
        return self.exclude(cloud_idp__in=deleted) if deleted else self.all()

    def present(self) -> DirectoryUserQuerySet:
        """People Entra holds now, enabled or not; not the deleted or merely mentioned."""
        return self.connected().filter(state=DirectoryUser.State.PRESENT)


class DirectoryUser(models.Model):
    """A person of an Entra tenant, as last read and in effect."""

    State = State

    # The number of its DirectoryObject.
    id = models.IntegerField(primary_key=True)
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        related_name="users",
        db_constraint=False,
        db_index=False,
    )
    object_id = models.CharField(max_length=36)
    state = models.CharField(max_length=10, choices=State.choices)
    # When that state began, as far as the console was told.
    state_since = models.DateTimeField()
    # False where it was concluded from a full read that left the person out.
    state_told = models.BooleanField(default=True)
    account_enabled = models.BooleanField(null=True)
    # Graph's userType: Member, Guest, or null.
    user_type = models.CharField(max_length=20, blank=True)
    display_name = models.CharField(max_length=256, blank=True)
    user_principal_name = models.CharField(max_length=1024, blank=True)

    # The mapped attributes (Jamf Pro's names). Empty when Entra has no value.
    user_name = models.CharField(max_length=1024, blank=True)
    real_name = models.CharField(max_length=1024, blank=True)
    email = models.CharField(max_length=1024, blank=True)
    department = models.CharField(max_length=1024, blank=True)
    building = models.CharField(max_length=1024, blank=True)
    room = models.CharField(max_length=1024, blank=True)
    phone = models.CharField(max_length=1024, blank=True)
    position = models.CharField(max_length=1024, blank=True)

    # user_name in NFC and case-folded: the whole key that reported names match.
    user_name_key = models.CharField(max_length=512, blank=True)
    # The name shown, folded: lists sort by it alike on both databases (C collation).
    sort_key = models.CharField(max_length=256, blank=True)
    # Names, user name, mail folded into one string for searching (trigram index).
    search = models.TextField(blank=True)
    first_seen_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = DirectoryUserQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "object_id"], name="directory_user_object_id"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["user_name_key", "id"], name="directory_user_key"),
            models.Index(
                fields=["state", "sort_key", "id"], name="directory_user_sort"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name or self.user_principal_name or self.object_id

    def get_absolute_url(self) -> str:
        return reverse("directory:user-detail", args=[self.pk])

    @property
    def is_guest(self) -> bool:
        return self.user_type.lower() == "guest"

    @property
    def is_active(self) -> bool:
        """Only active people hold privileges; null from Graph is not a yes."""
        return self.state == self.State.PRESENT and self.account_enabled is True


class DirectoryGroupQuerySet(models.QuerySet["DirectoryGroup"]):
    def connected(self) -> DirectoryGroupQuerySet:
        """Without the groups of deleted connections, which wait to be erased."""
        deleted = _deleted_connections()
        return self.exclude(cloud_idp__in=deleted) if deleted else self.all()

    def present(self) -> DirectoryGroupQuerySet:
        return self.connected().filter(state=DirectoryGroup.State.PRESENT)


class DirectoryGroup(models.Model):
    """A group of an Entra tenant, as last read and in effect."""

    State = State

    class Kind(models.TextChoices):
        SECURITY = "SECURITY", "Security"
        MICROSOFT_365 = "MICROSOFT_365", "Microsoft 365"
        MAIL_ENABLED_SECURITY = "MAIL_ENABLED_SECURITY", "Mail-enabled security"
        DISTRIBUTION = "DISTRIBUTION", "Distribution"
        UNKNOWN = "UNKNOWN", "Not readable"

    # The number of its DirectoryObject.
    id = models.IntegerField(primary_key=True)
    cloud_idp = models.ForeignKey(
        CloudIdentityProvider,
        models.CASCADE,
        related_name="groups",
        db_constraint=False,
        db_index=False,
    )
    object_id = models.CharField(max_length=36)
    state = models.CharField(max_length=10, choices=State.choices)
    state_since = models.DateTimeField()
    state_told = models.BooleanField(default=True)
    display_name = models.CharField(max_length=256, blank=True)
    description = models.TextField(blank=True)
    mail = models.CharField(max_length=1024, blank=True)
    kind = models.CharField(max_length=24, choices=Kind.choices)
    mail_enabled = models.BooleanField(null=True)
    security_enabled = models.BooleanField(null=True)
    is_dynamic = models.BooleanField(default=False)
    membership_rule = models.TextField(blank=True)
    is_assignable_to_role = models.BooleanField(null=True)
    # HiddenMembership: its members may not be readable; then nothing is known of them.
    hidden_membership = models.BooleanField(default=False)
    # Members that are neither users nor groups (devices, service principals, contacts).
    other_members = models.PositiveIntegerField(default=0)
    direct_users = models.PositiveIntegerField(default=0)
    transitive_users = models.PositiveIntegerField(default=0)
    sort_key = models.CharField(max_length=256, blank=True)
    search = models.TextField(blank=True)
    first_seen_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    objects = DirectoryGroupQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "object_id"], name="directory_group_object_id"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["state", "sort_key", "id"], name="directory_group_sort"
            ),
            # Two groups of one name are told apart on every page that shows one.
            models.Index(fields=["display_name"], name="directory_group_name"),
        ]

    def __str__(self) -> str:
        return self.display_name or self.object_id

    def get_absolute_url(self) -> str:
        return reverse("directory:group-detail", args=[self.pk])


class DirectoryMembership(models.Model):
    """A person is a direct member of a group.

    Millions of rows: two numbers each, no key of its own, and no foreign keys in the
    database (SQLite: WITHOUT ROWID). `directory.sync` keeps them whole.
    """

    pk = models.CompositePrimaryKey("group_id", "user_id")
    group = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="memberships",
        db_constraint=False,
        db_index=False,
    )
    user = models.ForeignKey(
        DirectoryUser,
        models.DO_NOTHING,
        related_name="memberships",
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["user", "group"], name="directory_membership_user")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.group_id}"


class GroupNesting(models.Model):
    """A group (child) is a direct member of a group (parent)."""

    pk = models.CompositePrimaryKey("parent_id", "child_id")
    parent = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="nested",
        db_constraint=False,
        db_index=False,
    )
    child = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="nested_in",
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["child", "parent"], name="group_nesting_child")
        ]

    def __str__(self) -> str:
        return f"{self.child_id} in {self.parent_id}"


class GroupClosure(models.Model):
    """Every group whose members count for the ancestor through nesting.

    Holds pairs of different groups only. In a cycle each group is the other's
    ancestor. Rebuilt when nesting changes.
    """

    pk = models.CompositePrimaryKey("ancestor_id", "descendant_id")
    ancestor = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="descendants",
        db_constraint=False,
        db_index=False,
    )
    descendant = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="ancestors",
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["descendant", "ancestor"], name="group_closure_descendant"
            )
        ]

    def __str__(self) -> str:
        return f"{self.descendant_id} under {self.ancestor_id}"


class GroupBitmap(models.Model):
    """The ids of a group's users, direct and transitive, as roaring bitmaps.

    Derived from the rows, which stay the truth; `manage.py rebuild_memberships`
    rebuilds and verifies. Each is null where it equals the one before it.
    """

    group = models.OneToOneField(
        DirectoryGroup,
        models.DO_NOTHING,
        primary_key=True,
        related_name="bitmap",
        db_constraint=False,
    )
    # Whoever has a row of membership, deleted people and those not read yet included.
    members = models.BinaryField()
    # Those of them who are in the directory, disabled or not. Nobody is in a group that
    # is not in the directory itself.
    direct = models.BinaryField(null=True)
    # The same with everybody in nested groups.
    transitive = models.BinaryField(null=True)

    def __str__(self) -> str:
        return f"Members of {self.group_id}"

    def users(self, *, nested: bool) -> BitMap:
        """Return the ids of the present users; `nested` adds those of nested groups."""
        stored = self.members if self.direct is None else self.direct
        if nested and self.transitive is not None:
            stored = self.transitive
        return BitMap.deserialize(bytes(stored))


class SyncRunQuerySet(models.QuerySet["SyncRun"]):
    def active(self) -> SyncRunQuerySet:
        return self.filter(state__in=SyncRun.ACTIVE)

    def reads(self) -> SyncRunQuerySet:
        """Without reads of one object, which go beside those of a directory."""
        return self.exclude(kind=SyncRun.Kind.OBJECT)


class SyncRun(models.Model):
    """One read of a directory: the durable record of the work.

    A task is a hint to look at this row. Whoever works on a run holds its lease and
    its fencing token; a run whose lease ran out is taken over.
    """

    class Kind(models.TextChoices):
        FULL = "FULL", "Full read"
        DELTA = "DELTA", "Changes"
        OBJECT = "OBJECT", "One person or group"

    class Trigger(models.TextChoices):
        CONNECTED = "CONNECTED", "First read"
        SCHEDULE = "SCHEDULE", "Schedule"
        PERSON = "PERSON", "Requested"

    class State(models.TextChoices):
        QUEUED = "QUEUED", "Waiting for a worker"
        READING = "READING", "Reading"
        APPLYING = "APPLYING", "Applying"
        SUCCEEDED = "SUCCEEDED", "Succeeded"
        FAILED = "FAILED", "Failed"
        CANCELED = "CANCELED", "Canceled"

    ACTIVE: ClassVar = [State.QUEUED, State.READING, State.APPLYING]

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, related_name="sync_runs"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # Why a full read was made where a read of changes was asked for.
    kind_reason = models.CharField(max_length=255, blank=True)
    trigger = models.CharField(max_length=10, choices=Trigger.choices)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    # What is happening now, in words.
    phase = models.CharField(max_length=100, blank=True)
    cancel_requested = models.BooleanField(default=False)

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    fencing_token = models.PositiveIntegerField(default=0)

    # After which it is given up; its pages are kept for the next one.
    deadline_at = models.DateTimeField(null=True)
    # What it reads by, and the generation it read against: pages of another run fit
    # only if both are the same.
    selection = models.TextField(blank=True)
    generation = models.PositiveIntegerField(null=True)

    pages = models.PositiveIntegerField(default=0)
    requests = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0)
    bytes_read = models.PositiveBigIntegerField(default=0)
    resource_units = models.PositiveIntegerField(default=0)
    users_read = models.PositiveIntegerField(default=0)
    groups_read = models.PositiveIntegerField(default=0)
    memberships_read = models.PositiveIntegerField(default=0)
    # [{"reason": ..., "times": 2, "seconds": 14.5}], by cause.
    waits = models.JSONField(default=list)
    # [["Reading", 4.2], ...] in seconds, in the order of the work.
    phases = models.JSONField(default=list)
    # Of requests that failed: [{"status": 429, "template": ..., "request_id": ...}].
    failures = models.JSONField(default=list)
    # What applying changed: {"users_added": 3, ...}.
    changes = models.JSONField(default=dict)
    # What of it was lost, without what somebody agreed to: {"people": 3, ...}. Limits
    # count it for 24 hours.
    losses = models.JSONField(default=dict)
    # Rows of people, groups and memberships written, by table.
    rows_written = models.JSONField(default=dict)
    # Of a read of one person or group: the number of its DirectoryObject.
    object_number = models.IntegerField(null=True)
    # Its steps: [{"name", "state", "detail", "seconds", "requests": [...]}].
    steps = models.JSONField(default=list)
    # Reads and plans, and applies nothing.
    dry_run = models.BooleanField(default=False)
    # What it planned is stored; without, nothing differed, or it is no longer kept.
    plan_stored = models.BooleanField(default=False)
    # The longest time for which others could not write.
    write_lock_seconds = models.FloatField(null=True)
    # Intervals name this run: it is kept as long as they are.
    remembered = models.BooleanField(default=False)

    # On failure: Microsoft's code and request id, our sentence, what to do.
    error_code = models.CharField(max_length=60, blank=True)
    error = models.TextField(blank=True)
    advice = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    objects = SyncRunQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp"],
                condition=Q(state__in=["QUEUED", "READING", "APPLYING"])
                & ~Q(kind="OBJECT"),
                name="sync_run_one_active",
            ),
            models.UniqueConstraint(
                fields=["cloud_idp", "object_number"],
                condition=Q(state__in=["QUEUED", "READING", "APPLYING"], kind="OBJECT"),
                name="sync_run_one_active_of_object",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["cloud_idp", "-created_at"], name="sync_run_recent")
        ]

    def __str__(self) -> str:
        return f"{self.what} of {self.cloud_idp} ({self.pk})"

    def get_absolute_url(self) -> str:
        return reverse("directory:syncrun-detail", args=[self.pk])

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def changes_anything(self) -> bool:
        return any(self.changes.values())

    @property
    def is_read(self) -> bool:
        """Whether it reads the directory, and not one person or group."""
        return self.kind != self.Kind.OBJECT

    @property
    def what(self) -> str:
        """What kind of run it is, in words."""
        return "Dry run" if self.dry_run else str(self.get_kind_display())


class StagedPage(models.Model):
    """One page as read, reduced to what is new, until its run is applied.

    `directory.sync.stage` packs and unpacks. Of people and groups only those whose
    observed hash differs are held, with the mapped attributes alone.
    """

    class Resource(models.TextChoices):
        USERS = "USERS", "Users"
        GROUPS = "GROUPS", "Groups"

    run = models.ForeignKey(
        SyncRun, models.CASCADE, related_name="staged_pages", db_index=False
    )
    # How it is packed, see directory.sync.stage: another version may pack otherwise. A
    # version that says nothing of it can still store pages.
    format = models.CharField(max_length=16, db_default="")
    resource = models.CharField(max_length=6, choices=Resource.choices)
    number = models.PositiveIntegerField()
    # The numbers of all objects on the page, a bitmap.
    seen = models.BinaryField()
    # What differs of them, JSON.
    objects_changed = models.BinaryField()
    # Members by group, numbers of 32 bits.
    members = models.BinaryField()
    # One of the two: where to read on, or where the next read of changes begins.
    next_link = models.TextField(blank=True)
    delta_link = models.TextField(blank=True)
    staged_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "resource", "number"], name="staged_page_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.resource} {self.number} of run {self.run_id}"


class PlanPart(models.Model):
    """A part of what a run planned: differences of some people or groups, packed.

    `directory.sync.stored_plans` packs and unpacks. The differences of one section are
    in the order of their numbers, so that a page of them is read from few parts.
    """

    class Section(models.TextChoices):
        PEOPLE = "PEOPLE", "People"
        GROUPS = "GROUPS", "Groups"
        MEMBERS = "MEMBERS", "Memberships"
        HELD = "HELD", "Held"

    run = models.ForeignKey(
        SyncRun, models.CASCADE, related_name="plan_parts", db_index=False
    )
    section = models.CharField(max_length=7, choices=Section.choices)
    # The smallest number in it, and the greatest.
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    # Differences by sort: {"added": 400, "changed": 3}.
    counts = models.JSONField()
    # Of people and groups that a first read brings: their numbers alone, a bitmap.
    numbers_only = models.BooleanField(default=False)
    body = models.BinaryField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "section", "first"], name="plan_part_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.section} from {self.first} of the plan of run {self.run_id}"


class PlanConsequence(models.Model):
    """What follows from what a run planned, see `directory.dependents.Consequence`."""

    run = models.ForeignKey(
        SyncRun, models.CASCADE, related_name="consequences", db_index=False
    )
    # In the order in which pages list them: the gravest first.
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=30)
    subject = models.CharField(max_length=20)
    # Of the object that it happens in, if there is one: what it is, and who may see it.
    about = models.JSONField(null=True)
    permission = models.CharField(max_length=100, blank=True)
    site_id = models.IntegerField(null=True)
    what = models.JSONField(default=list)
    detail = models.TextField(blank=True)
    full_access = models.BooleanField(default=False)
    count = models.PositiveIntegerField()
    # Row ids, as bitmaps: of whom or what it happens to, and of directory groups.
    numbers = models.BinaryField()
    groups = models.BinaryField()
    # Before and after by row id, packed; empty where there are none.
    differences = models.BinaryField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "position"], name="plan_consequence_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} by run {self.run_id}"


class PublicAddressProbe(models.Model):
    """The last look at the console's own address from outside; one row an address."""

    url = models.CharField(max_length=500, unique=True)
    at = models.DateTimeField(null=True)
    # The machine that looked: another one may see another network.
    by = models.CharField(max_length=255, blank=True)
    next_at = models.DateTimeField()
    findings = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"Look at {self.url}"


class HeldChange(models.Model):
    """What Entra says of one person or group and is not in effect here.

    The stored difference between *observed* and *in effect*. Observed is what stands
    in the rows, except where an open row of this table says otherwise; every run
    advances it, and closes what the directory has healed by itself.
    """

    class Outcome(models.TextChoices):
        OPEN = "", "Held"
        HEALED = "HEALED", "Entra took it back"
        APPLIED = "APPLIED", "Applied"

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, related_name="held_changes"
    )
    # The number of the DirectoryObject; its row may not exist yet.
    number = models.IntegerField()
    kind = models.CharField(max_length=1, choices=DirectoryObject.Kind.choices)
    # The whole row as Entra has it, by column; null when only members are held.
    observed = models.JSONField(null=True)
    # False where an absence in a full read said so, and not Entra itself.
    told = models.BooleanField(default=True)
    # Of a group: the numbers of people and groups that joined and left, as bitmaps;
    # `inferred` are those of `left` that a full read merely left out.
    users_joined = models.BinaryField(null=True)
    users_left = models.BinaryField(null=True)
    users_inferred = models.BinaryField(null=True)
    groups_joined = models.BinaryField(null=True)
    groups_left = models.BinaryField(null=True)
    groups_inferred = models.BinaryField(null=True)
    # Names of what holds it.
    guards = models.JSONField(default=list)
    # Over all of the above but the guards: a decision about it is bound to this.
    payload_hash = models.CharField(max_length=64)

    opened_at = models.DateTimeField()
    opened_by = models.IntegerField(null=True)
    changed_at = models.DateTimeField()
    changed_by = models.IntegerField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.IntegerField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True)
    # What somebody decided of it, as long as that holds.
    decision = models.ForeignKey(
        "Decision", models.SET_NULL, null=True, related_name="in_force_of"
    )

    class Meta:
        default_permissions: ClassVar = ()
        permissions: ClassVar = [("decide_heldchange", "Can decide held changes")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cloud_idp", "number"],
                condition=Q(closed_at=None),
                name="held_change_one_open",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["closed_at"], name="held_change_closed")
        ]

    def __str__(self) -> str:
        return f"Held change of {self.number}"

    def get_absolute_url(self) -> str:
        return reverse("directory:heldchange-detail", args=[self.pk])


class Decision(models.Model):
    """What somebody decided of held changes, with a reason.

    Bound to the hash of each change; an approval also to all that follows from it. It is
    void when one of these is another.
    """

    class Verdict(models.TextChoices):
        APPROVED = "APPROVED", "Approved"
        REJECTED = "REJECTED", "Rejected"

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, related_name="decisions"
    )
    verdict = models.CharField(max_length=8, choices=Verdict.choices)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    actor_name = models.CharField(max_length=255)
    reason = models.TextField()
    at = models.DateTimeField()
    # A rejection has an end.
    ends_at = models.DateTimeField(null=True)
    # Of an approval: names all that follows from it.
    consequences_hash = models.CharField(max_length=64, blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        ordering: ClassVar = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} by {self.actor_name}"


class DecidedChange(models.Model):
    """One held change of a decision, and what came of that."""

    class Outcome(models.TextChoices):
        OPEN = "", "In force"
        APPLIED = "APPLIED", "Applied"
        HEALED = "HEALED", "Entra took it back"
        VOID = "VOID", "Void, since something changed"
        ENDED = "ENDED", "Ended"
        REPLACED = "REPLACED", "Decided anew"

    decision = models.ForeignKey(Decision, models.CASCADE, related_name="changes")
    held = models.ForeignKey(HeldChange, models.CASCADE, related_name="decided")
    payload_hash = models.CharField(max_length=64)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["decision", "held"], name="decided_change_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.decision} of {self.held}"

    @property
    def is_void(self) -> bool:
        return self.outcome == self.Outcome.VOID


class EverythingHeld(models.Model):
    """Somebody said that nothing is to be applied: of one connection, or of all.

    Runs go on reading and planning. Losses of privileges take effect all the same.
    """

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, null=True, related_name="everything_held"
    )
    reason = models.TextField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    by_name = models.CharField(max_length=255)
    at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)
    released_by_name = models.CharField(max_length=255, blank=True)
    release_reason = models.TextField(blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        ordering: ClassVar = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"Everything of {self.cloud_idp or 'all connections'} is held"


class UnconfirmedLoss(models.Model):
    """A loss of privileges that rests on absence in a full read alone.

    Microsoft was asked and said otherwise, or nothing. Until the loss is confirmed, taken
    back or older than the freshness limit the privileges stay, as does all else.
    """

    class Answer(models.TextChoices):
        CONTRADICTED = "CONTRADICTED", "Microsoft says otherwise"
        UNANSWERED = "UNANSWERED", "Microsoft did not answer"

    cloud_idp = models.ForeignKey(
        CloudIdentityProvider, models.CASCADE, related_name="unconfirmed_losses"
    )
    person_id = models.IntegerField()
    # The group that gives privileges; null: the person themselves.
    group_id = models.IntegerField(null=True)
    since = models.DateTimeField()
    answer = models.CharField(max_length=12, choices=Answer.choices)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["cloud_idp", "person_id"], name="unconfirmed_loss_person"
            )
        ]

    def __str__(self) -> str:
        return f"Loss of {self.person_id} in {self.group_id}"


class MembershipInterval(models.Model):
    """When a member, person or group, was in a group that it joined or left.

    Whoever is a member since before the first complete read has no row; from null on
    a row that ended says the same. An open row belongs to a current membership.
    """

    id = models.BigAutoField(primary_key=True)
    # Numbers of DirectoryObjects, and of SyncRuns: no foreign keys.
    group_id = models.IntegerField()
    member_id = models.IntegerField()
    from_run = models.BigIntegerField(null=True)
    from_at = models.DateTimeField(null=True)
    to_run = models.BigIntegerField(null=True)
    to_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["group_id", "member_id"],
                condition=Q(to_at=None),
                name="membership_interval_one_open",
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["group_id", "to_at"], name="membership_interval_group"
            ),
            models.Index(fields=["member_id"], name="membership_interval_member"),
            models.Index(fields=["to_at"], name="membership_interval_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.member_id} in {self.group_id} until {self.to_at}"


class EarlierValue(models.Model):
    """What an attribute of a person or group was until a run changed it.

    It held since the earlier value before it ended, or since before the first
    complete read.
    """

    id = models.BigAutoField(primary_key=True)
    number = models.IntegerField()
    attribute = models.CharField(max_length=30)
    value = models.TextField(blank=True)
    to_run = models.BigIntegerField(null=True)
    to_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["number", "attribute", "to_at"], name="earlier_value_of"
            ),
            models.Index(fields=["to_at"], name="earlier_value_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.attribute} of {self.number} until {self.to_at}"


class WorkerHeartbeat(models.Model):
    """When a task worker last said that it is alive."""

    name = models.CharField(max_length=255, primary_key=True)
    at = models.DateTimeField()
    # Of each cloud it was asked about: when it tried the hosts, and what went wrong.
    hosts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class GroupOtherMember(models.Model):
    """A direct member that is neither person nor group: a device, an application.

    `member` is the number of its DirectoryObject: enough to count each once, however
    often Graph repeats it.
    """

    pk = models.CompositePrimaryKey("group_id", "member_id")
    group = models.ForeignKey(
        DirectoryGroup,
        models.DO_NOTHING,
        related_name="others",
        db_constraint=False,
        db_index=False,
    )
    member_id = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.member_id} in {self.group_id}"
