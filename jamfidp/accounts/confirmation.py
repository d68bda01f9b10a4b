"""What Microsoft Graph says of a person at the moment they sign in.

The rows of the directory are as old as the last read. A sign-in asks again, and what
was answered counts until a read that began after it: who was disabled or taken out of
a group since the last read does not get in on old rows.
"""

from __future__ import annotations

from datetime import datetime

from directory import permission_use, tokens
from directory.dependents import AppliedChange, ObjectRef
from directory.entra import EntraSession, GraphClient
from directory.models import CloudIdentityProvider, DirectoryUser
from directory.permissions import Feature
from jamfidp.accounts.models import DirectoryBinding, SignInConfirmation
from jamfidp.compiled import Compiled


def ask(
    cloud_idp: CloudIdentityProvider,
    ref: ObjectRef,
    *,
    session: EntraSession,
    now: datetime,
) -> SignInConfirmation:
    """Ask whether the person is enabled, and which bound groups hold them; keep it.

    Nested groups count as holding. Needs User.Read.All and GroupMember.Read.All.

    Raises:
        EntraError: nothing is known, and nothing is kept.
    """
    graph = tokens.graph_client(
        cloud_idp, session=session, priority="high", insist=True
    )
    try:
        return _answered(graph, ref, now=now)
    finally:
        # That they signed in at Microsoft is a use of the delegated one.
        permission_use.note(
            cloud_idp, Feature.SIGN_IN, {"User.Read": 1, **graph.used}, now=now
        )


def _answered(
    graph: GraphClient, ref: ObjectRef, *, now: datetime
) -> SignInConfirmation:
    person = graph.get_user(ref.object_id)
    bound = sorted(
        set(
            DirectoryBinding.objects.filter(tenant_id=ref.tenant_id).values_list(
                "object_id", flat=True
            )
        )
    )
    held_by = graph.check_member_groups(ref.object_id, bound) if bound else frozenset()
    found, _ = SignInConfirmation.objects.update_or_create(
        tenant_id=ref.tenant_id,
        object_id=ref.object_id,
        defaults={
            "at": now,
            "enabled": person.account_enabled,
            "user_type": person.user_type or "",
            "group_ids": sorted(held_by),
        },
    )
    return found


def forget(tenant_id: str) -> None:
    """Forget what was answered of the people of a tenant that is connected no more."""
    SignInConfirmation.objects.filter(tenant_id=tenant_id).delete()


ANSWERED = Compiled(
    lambda tenant_id, before: (
        SignInConfirmation.objects.filter(tenant_id=tenant_id, at__lt=before)
        .order_by()
        .values_list("pk")[:1]
    )
)


def overtaken(change: AppliedChange, tenant_id: str, *, now: datetime) -> None:
    """Forget what was answered before the read that was just applied had begun.

    A read of one person says nothing of what the others were answered.
    """
    before = change.began_at or now
    if not ANSWERED.any(tenant_id, before):
        return
    answers = SignInConfirmation.objects.filter(tenant_id=tenant_id, at__lt=before)
    if change.asked is not None:
        people = DirectoryUser.objects.filter(pk=change.asked)
        answers = answers.filter(object_id__in=people.values("object_id"))
    answers.delete()
