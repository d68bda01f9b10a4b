"""What console accounts tell the directory's pages: who is bound, who holds what."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.urls import reverse
from pyroaring import BitMap

from directory.dependents import (
    AppliedChange,
    Consequence,
    Fragment,
    Gives,
    GroupInUse,
    Moment,
    ObjectRef,
    Step,
    Subject,
    Use,
)
from directory.models import CloudIdentityProvider
from directory.planned import PlannedChange
from jamfidp.access import ConsoleUser
from jamfidp.accounts import alarms, confirmation, planned_privileges, sessions
from jamfidp.accounts.levels import AccessLevel, PrivilegeSet
from jamfidp.accounts.models import DirectoryBinding, User
from jamfidp.accounts.privileges import names_of
from jamfidp.compiled import Compiled, Question

PERMISSION = "accounts.view_accountgroup"


_BOUND = Compiled(
    lambda tenant_id: (
        DirectoryBinding.objects.filter(tenant_id=tenant_id)
        .order_by()
        .values_list(
            "object_id",
            "nested",
            "account_group__access_level",
            "account_group__privilege_set",
            "account_group__privileges",
        )
    )
)
# Accounts with privileges of their own, and those that were put into groups here.
_OWN = Compiled(
    lambda tenant_id: (
        User.objects.filter(tenant_id=tenant_id)
        .exclude(access_level=AccessLevel.GROUP)
        .order_by()
        .values_list("object_id", "access_level", "privilege_set")
    )
)
_ASSIGNED = Compiled(
    lambda tenant_id: (
        User.objects.filter(
            tenant_id=tenant_id,
            access_level=AccessLevel.GROUP,
            groups__access_level__in=AccessLevel.values,
        )
        .order_by()
        .values_list("object_id", "groups__access_level", "groups__privilege_set")
    )
)


_TENANT = Compiled(
    lambda cloud_idp: CloudIdentityProvider.objects.filter(pk=cloud_idp).values_list(
        "tenant_id"
    )
)


class AccountsDependents:
    """Privileges are decided at every request; sessions end where none are left."""

    label = "Accounts"
    # People are the directory's own.
    subjects: Collection[Subject] = ()

    def questions(self, step: Step, moment: Moment) -> Sequence[Question]:
        tenant_id = moment.tenant_id
        match step:
            case Step.GUARDS:
                return [each.with_(tenant_id) for each in (_BOUND, _OWN, _ASSIGNED)]
            case Step.CONSEQUENCES:
                return [planned_privileges.CONCERNED.with_(tenant_id)]
            case Step.APPLIED:
                return [
                    _TENANT.with_(moment.cloud_idp_id),
                    confirmation.ANSWERED.with_(
                        tenant_id, moment.began_at or moment.now
                    ),
                    *alarms.questions(tenant_id),
                    sessions.signed_in_of(tenant_id, now=moment.now),
                ]

    def groups_in_use(self, tenant_id: str) -> Sequence[GroupInUse]:
        return [
            GroupInUse(
                object_id,
                nested,
                _gives(level, chosen),
                names_of(chosen, custom) if level == AccessLevel.FULL else frozenset(),
            )
            for object_id, nested, level, chosen, custom in _BOUND.rows(tenant_id)
        ]

    def people_named(self, tenant_id: str) -> Collection[str]:
        """Those who have an account: they cannot use it while they are not read."""
        accounts = User.objects.filter(tenant_id=tenant_id)
        return set(accounts.values_list("object_id", flat=True))

    def people_in_use(self, tenant_id: str) -> Mapping[str, Gives]:
        found = {
            object_id: _gives(level, chosen)
            for object_id, level, chosen in _OWN.rows(tenant_id)
        }
        for object_id, level, chosen in _ASSIGNED.rows(tenant_id):
            given = _gives(level, chosen)
            found[object_id] = max(found.get(object_id, Gives.NOTHING), given)
        return found

    def uses_of_group(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        access = viewer.sites_with(PERMISSION)
        return [
            Use(
                kind="Account group",
                name=str(binding.account_group),
                url=binding.account_group.get_absolute_url(),
                detail="nested groups count" if binding.nested else "",
            )
            for binding in DirectoryBinding.objects.filter(
                tenant_id=ref.tenant_id, object_id=ref.object_id
            ).select_related("account_group")
            if access.may_see(binding.account_group.site_id)
        ]

    def uses_of_user(self, ref: ObjectRef, *, viewer: ConsoleUser) -> Sequence[Use]:
        access = viewer.sites_with("accounts.view_user")
        return [
            Use(kind="Account", name=str(account), url=account.get_absolute_url())
            for account in User.objects.filter(
                tenant_id=ref.tenant_id, object_id=ref.object_id
            )
            if access.may_see(account.site_id)
        ]

    def uses_of_connection(
        self, tenant_id: str, *, viewer: ConsoleUser
    ) -> Sequence[Use]:
        access = viewer.sites_with(PERMISSION)
        uses = [
            Use(
                kind="Account group",
                name=str(binding.account_group),
                url=binding.account_group.get_absolute_url(),
                detail=f"bound to {binding}",
            )
            for binding in DirectoryBinding.objects.filter(
                tenant_id=tenant_id
            ).select_related("account_group")
            if access.may_see(binding.account_group.site_id)
        ]
        accounts = User.objects.filter(tenant_id=tenant_id).count()
        if accounts and viewer.sites_with("accounts.view_user").everywhere:
            uses.append(
                Use(
                    kind="Accounts",
                    name=f"{accounts} account{'' if accounts == 1 else 's'} of people "
                    f"who sign in with Entra",
                    url=reverse("accounts:user-list"),
                )
            )
        return uses

    def shows_all_uses(self, *, viewer: ConsoleUser) -> bool:
        return all(
            viewer.sites_with(perm).everywhere
            for perm in (PERMISSION, "accounts.view_user")
        )

    def user_fragments(self, ref: ObjectRef) -> Sequence[Fragment]:
        return [
            Fragment(
                title="Console privileges",
                url=reverse(
                    "accounts:directory-user", args=[ref.tenant_id, ref.object_id]
                ),
            )
        ]

    def group_fragments(self, ref: ObjectRef) -> Sequence[Fragment]:
        return [
            Fragment(
                title="Console privileges",
                url=reverse(
                    "accounts:directory-group", args=[ref.tenant_id, ref.object_id]
                ),
            )
        ]

    def consequences(
        self, planned: PlannedChange, *, now: datetime
    ) -> Sequence[Consequence]:
        return planned_privileges.of_plan(planned, now=now)

    def sees_subjects(self, subject: Subject, *, viewer: ConsoleUser) -> bool:
        return False

    def visible_subjects(
        self, subject: Subject, numbers: BitMap, *, viewer: ConsoleUser
    ) -> BitMap:
        return BitMap()

    def subject_lines(
        self, subject: Subject, numbers: Sequence[int]
    ) -> Mapping[int, Use]:
        return {}

    def after_apply(self, change: AppliedChange, *, now: datetime) -> None:
        ((tenant_id,),) = _TENANT.rows(change.cloud_idp_id)
        confirmation.overtaken(change, tenant_id, now=now)
        if alarms.may_be_look_alikes(tenant_id):
            alarms.look_for_look_alikes(
                CloudIdentityProvider.objects.only("tenant_id", "display_name").get(
                    pk=change.cloud_idp_id
                ),
                changed=None if change.full else change.group_ids,
                now=now,
            )
        self._end_sessions(tenant_id, now)

    def after_connection_change(self, tenant_id: str, *, now: datetime) -> None:
        if not CloudIdentityProvider.objects.filter(tenant_id=tenant_id).exists():
            confirmation.forget(tenant_id)
            alarms.forget(tenant_id, now=now)
        self._end_sessions(tenant_id, now)

    def _end_sessions(self, tenant_id: str, now: datetime) -> None:
        if not sessions.anybody_signed_in(tenant_id, now=now):
            return
        sessions.end_where_nothing_is_held(
            sessions.signed_in_accounts(now, tenant_id=tenant_id), now=now
        )


def _gives(access_level: str, privilege_set: str) -> Gives:
    if access_level != AccessLevel.FULL:
        return Gives.PRIVILEGES
    if privilege_set == PrivilegeSet.ADMINISTRATOR:
        return Gives.ADMINISTRATOR
    return Gives.FULL_ACCESS
