"""What the first page says: what is set up, what is not, and what needs a person."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, Q
from django.urls import reverse

from directory.models import (
    ApplicationRegistration,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    SyncRun,
)
from jamfidp.access import ConsoleUser, visible_to
from jamfidp.accounts.models import DirectoryBinding
from jamfidp.components import Step
from scoping.models import (
    ConfigurationProfile,
    Device,
    DeviceKind,
    InventoryUser,
    Policy,
    ScopeEntry,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSummary:
    connection: CloudIdentityProvider
    people: int
    groups: int
    latest_run: SyncRun | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    label: str
    count: int
    url: str
    detail: str = ""


def steps(user: ConsoleUser) -> Sequence[Step]:
    """The way from an empty console to a scoped fleet; empty when all of it is done."""
    read = CloudIdentityProvider.objects.filter(first_complete_read_at__isnull=False)
    facts = [
        (
            "Enter the Entra ID application",
            ApplicationRegistration.objects.exists(),
            "directory:application-registration",
            "directory.change_applicationregistration",
        ),
        (
            "Connect a tenant",
            CloudIdentityProvider.objects.exists(),
            "directory:cloud-idp-new",
            "directory.add_cloudidentityprovider",
        ),
        (
            "Read its people and groups",
            read.exists(),
            "directory:syncrun-list",
            "directory.view_syncrun",
        ),
        (
            "Bring in the inventory",
            Device.objects.exists(),
            "scoping:computer-list",
            "scoping.view_computer",
        ),
        (
            "Limit a policy to a directory group",
            ScopeEntry.objects.filter(kind__in=ScopeEntry.DIRECTORY).exists(),
            "scoping:policy-list",
            "scoping.view_policy",
        ),
        (
            "Give privileges to a directory group",
            DirectoryBinding.objects.exists(),
            "accounts:accountgroup-list",
            "accounts.view_accountgroup",
        ),
    ]
    if all(done for _, done, _, _ in facts):
        return ()
    first_open = next(i for i, fact in enumerate(facts) if not fact[1])
    return [
        Step(
            label,
            "done" if done else "current" if i == first_open else "todo",
            url=reverse(route) if user.has_perm(perm) else "",
        )
        for i, (label, done, route, perm) in enumerate(facts)
    ]


def connections(user: ConsoleUser) -> Sequence[ConnectionSummary]:
    """Each connection with what was read of it and its latest run."""
    if not user.has_perm("directory.view_cloudidentityprovider"):
        return ()
    people = dict(
        DirectoryUser.objects.present()
        .values_list("cloud_idp_id")
        .annotate(n=Count("pk"))
        .order_by()
    )
    groups = dict(
        DirectoryGroup.objects.present()
        .values_list("cloud_idp_id")
        .annotate(n=Count("pk"))
        .order_by()
    )
    return [
        ConnectionSummary(
            connection=idp,
            people=people.get(idp.pk, 0),
            groups=groups.get(idp.pk, 0),
            latest_run=SyncRun.objects.reads()
            .filter(cloud_idp=idp, dry_run=False)
            .first(),
        )
        for idp in CloudIdentityProvider.objects.order_by("display_name")
    ]


def counts(user: ConsoleUser) -> Sequence[Tally]:
    """Numbers that open into lists, of what this person may see."""
    found: list[Tally] = []
    for kind, label, perm, route in (
        (DeviceKind.COMPUTER, "Computers", "view_computer", "computer"),
        (DeviceKind.MOBILE, "Mobile devices", "view_mobiledevice", "mobiledevice"),
    ):
        if user.has_perm(f"scoping.{perm}"):
            rows = visible_to(
                Device.objects.filter(kind=kind), user, f"scoping.{perm}"
            ).aggregate(n=Count("pk"), managed=Count("pk", filter=Q(managed=True)))
            found.append(
                Tally(
                    label=label,
                    count=rows["n"],
                    url=reverse(f"scoping:{route}-list"),
                    detail=f"{rows['managed']:,} managed",
                )
            )
    if user.has_perm("scoping.view_policy"):
        policies = visible_to(Policy.objects.all(), user, "scoping.view_policy")
        unsure = policies.filter(scope__unknown_count__gt=0).count()
        found.append(
            Tally(
                label="Policies",
                count=policies.count(),
                url=reverse("scoping:policy-list"),
                detail=f"{unsure} with unknown devices" if unsure else "all decided",
            )
        )
    perm = "scoping.view_macosconfigurationprofile"
    if user.has_perm(perm):
        profiles = visible_to(
            ConfigurationProfile.objects.filter(kind=DeviceKind.COMPUTER), user, perm
        )
        found.append(
            Tally(
                label="Configuration profiles",
                count=profiles.count(),
                url=reverse("scoping:macosconfigurationprofile-list"),
                detail="for computers",
            )
        )
    if user.has_perm("scoping.view_inventoryuser"):
        matches = InventoryUser.objects.aggregate(
            n=Count("pk"), matched=Count("pk", filter=Q(match="MATCHED"))
        )
        found.append(
            Tally(
                label="Device users matched",
                count=matches["matched"],
                url=reverse("scoping:inventoryuser-list"),
                detail=f"of {matches['n']:,} reported names",
            )
        )
    return found
