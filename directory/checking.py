"""Trying a connection: a token issued for it, the tenant's own ID, each permission.

By itself every half hour, and at growing intervals while it fails; never before the
time that Microsoft asks to wait. When a person asks, at once. The token is kept apart
from those that reads and look-ups use: a check that fails takes nothing from them.
"""

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from directory import clouds, connect, permission_use, status, tls, tokens
from directory.entra import EntraSession, GraphClient, PermissionProbe, errors
from directory.entra.transport import Priority
from directory.models import CloudIdentityProvider
from directory.permissions import Feature

# A check by itself keeps nobody waiting, but a slot of a worker busy.
BY_ITSELF_SECONDS = 20.0
# A worker that was told of a check and fell silent is not waited for any longer.
CLAIMED_FOR = timedelta(minutes=5)


class Disabled(Exception):
    """The connection is switched off."""


class AskedToWait(Exception):
    """Microsoft asked to be left alone until `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


def check(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """Try a connection for a person who waits; refused credentials are tried again.

    Returns whether everything works; the status and its evidence are stored.

    Raises:
        Disabled: nothing is asked through a connection that is switched off.
        AskedToWait
    """
    return _check(cloud_idp, seconds=cloud_idp.search_timeout, by_person=True, now=now)


def check_by_itself(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """Try a connection that is due. Raises as `check` does."""
    return _check(cloud_idp, seconds=BY_ITSELF_SECONDS, by_person=False, now=now)


def due(*, now: datetime) -> QuerySet[CloudIdentityProvider]:
    """Return the connections whose check is due."""
    return (
        CloudIdentityProvider.objects.filter(enabled=True)
        .filter(Q(next_check_at=None) | Q(next_check_at__lte=now))
        .filter(Q(asked_to_wait_until=None) | Q(asked_to_wait_until__lte=now))
    )


def claim(cloud_idp: CloudIdentityProvider, *, now: datetime) -> bool:
    """Take a check that is due, so that of several ticks one announces it."""
    taken = due(now=now).filter(pk=cloud_idp.pk)
    return bool(taken.update(next_check_at=now + CLAIMED_FOR))


def _check(
    cloud_idp: CloudIdentityProvider, *, seconds: float, by_person: bool, now: datetime
) -> bool:
    if not cloud_idp.enabled:
        raise Disabled
    until = cloud_idp.asked_to_wait_until
    if until is not None and until > now:
        raise AskedToWait(until)
    try:
        cloud = clouds.cloud(cloud_idp.cloud)
        with EntraSession(
            cloud, total_seconds=seconds, tls_observer=tls.noting(cloud_idp)
        ) as session:
            probes, problem = _ask(cloud_idp, session, by_person=by_person, now=now)
    except errors.EntraError as error:
        status.record_failure(cloud_idp, error, now=now, checked=True)
        return False
    signed_in = [
        entry
        for entry in cloud_idp.permissions_probed
        if entry["permission"] == connect.DELEGATED_PERMISSION
    ]
    cloud_idp.permissions_probed = signed_in + connect.evidence(
        probes, signed_in_at=None, now=now
    )
    cloud_idp.save(update_fields=["permissions_probed"])
    if problem is not None:
        status.record_failure(cloud_idp, problem, now=now, checked=True)
        return False
    if cloud_idp.status != CloudIdentityProvider.Status.ACTIVE:
        # What was issued while it failed can lack what is granted now.
        tokens.forget(cloud_idp)
    status.record_success(cloud_idp, now=now, checked=True)
    return True


def _ask(
    cloud_idp: CloudIdentityProvider,
    session: EntraSession,
    *,
    by_person: bool,
    now: datetime,
) -> tuple[tuple[PermissionProbe, ...], errors.EntraError | None]:
    """Return what came of each permission, and what is missing if anything is."""
    priority: Priority = "high" if by_person else "low"
    source = tokens.for_connection(
        cloud_idp, session=session, insist=by_person, apart=True
    )
    token = source.token(fresh=True)
    permission_use.saw_roles(cloud_idp, token.roles(), now=now)
    graph = GraphClient(
        cloud=clouds.cloud(cloud_idp.cloud),
        tokens=source,
        session=session,
        priority=priority,
    )
    try:
        return _tried(cloud_idp, graph)
    finally:
        permission_use.note(cloud_idp, Feature.CHECK, graph.used, now=now)


def _tried(
    cloud_idp: CloudIdentityProvider, graph: GraphClient
) -> tuple[tuple[PermissionProbe, ...], errors.EntraError | None]:
    problem: errors.EntraError | None = None
    try:
        organization = graph.organization()
    except errors.PermissionMissing as missing:
        problem = missing
    else:
        if organization.id != cloud_idp.tenant_id:
            raise connect.OtherTenant(
                "Microsoft Graph answered for another tenant.",
                advice="Nothing was changed. Report this as a defect.",
            )
    probes = graph.probe_permissions()
    refused = [probe.error for probe in probes if probe.error is not None]
    if refused and len(refused) == len(probes):
        return probes, _none_granted(refused[0])
    return probes, next(iter(refused), problem)


def _none_granted(refused: errors.PermissionMissing) -> errors.ConsentMissing:
    """The service principal is there and no permission: consent was taken back."""
    return errors.ConsentMissing(
        "The tenant grants none of the permissions of the console any more.",
        status=refused.status,
        code=refused.code,
        request_id=refused.request_id,
    )
