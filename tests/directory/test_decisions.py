"""Approving and rejecting held changes: what they are bound to, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from directory import decisions, hold_everything
from directory.decisions import CannotDecide
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DecidedChange,
    Decision,
    DirectoryGroup,
    DirectoryUser,
    HeldChange,
    SyncRun,
)
from directory.sync import agreed
from directory.sync.decide import everything_held, gather
from directory.sync.decide import hold_everything as hold_all
from directory.sync.differences import Plan
from directory.sync.guards import judge
from directory.sync.holds import Decide, Held
from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from jamfidp.notices.models import Notice
from tests import factories
from tests.directory.rounds import group, guid, left, member, removed, take, user

ANA, MILO, NOOR = map(guid, ("ana", "milo", "noor"))
TEAM = guid("team")


@pytest.fixture
def fernhill(db: None) -> CloudIdentityProvider:
    """Ana and Milo in Team; one lost is too many for this connection."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA), user(MILO), user(NOOR)],
        groups=[group(TEAM, member(ANA), member(MILO))],
    )
    factories.guard_limits(idp, 1)
    return idp


@pytest.fixture
def ada(db: None) -> User:
    return factories.administrator("ada")


def guarded(plan: Plan) -> Held:
    """What decides in a run, but for what it follows upon."""
    held = judge(gather(plan))
    everything = everything_held(plan.cloud_idp) is not None
    if everything:
        hold_all(plan, held)
    agreed.heed(plan, held, applying=not everything)
    return held


def synced(idp: CloudIdentityProvider, **said: Any) -> Plan:
    decide: Decide = guarded
    return take(idp, **said, decide=decide)


def members() -> set[str]:
    found = DirectoryGroup.objects.get(object_id=TEAM)
    numbers = list(found.bitmap.users(nested=True))
    people = DirectoryUser.objects.filter(pk__in=numbers)
    return set(people.values_list("object_id", flat=True))


def approve(idp: CloudIdentityProvider, actor: User, **other: Any) -> SyncRun | None:
    held = list(HeldChange.objects.filter(closed_at=None).order_by("pk"))
    now = timezone.now()
    seen = decisions.review(idp, held, viewer=actor, now=now)
    given = {
        "pks": [each.pk for each in held],
        "seal": seen.seal,
        "typed": idp.display_name,
        "reason": "They moved to Studio",
    } | other
    return decisions.approve(cloud_idp=idp, actor=actor, now=now, **given)


def reject(idp: CloudIdentityProvider, actor: User, days: int = 7) -> None:
    held = HeldChange.objects.filter(closed_at=None)
    decisions.reject(
        cloud_idp=idp,
        pks=[each.pk for each in held],
        days=days,
        reason="Not ours to lose",
        actor=actor,
        now=timezone.now(),
    )


def test_an_approved_change_is_applied_by_the_next_sync(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    assert members() == {ANA, MILO}

    run = approve(fernhill, ada)
    assert run is not None
    assert run.state == SyncRun.State.QUEUED, "it is asked for at once"
    run.delete()
    synced(fernhill)

    assert members() == {MILO}
    held = HeldChange.objects.get()
    assert held.outcome == HeldChange.Outcome.APPLIED
    assert held.decided.get().outcome == DecidedChange.Outcome.APPLIED
    entry = ObjectHistory.objects.get(action="approved")
    assert entry.actor == ada
    assert entry.details["payload_hashes"] == [held.payload_hash]


def test_with_a_person_go_their_memberships(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, users=[removed(ANA, "deleted")], groups=[group(TEAM, left(ANA))])
    person = HeldChange.objects.get(kind="U", closed_at=None)
    assert HeldChange.objects.filter(closed_at=None).count() == 2
    follows = HeldChange.objects.get(kind="G", closed_at=None)

    with pytest.raises(CannotDecide, match="follows from other held changes"):
        approve(fernhill, ada, pks=[follows.pk], seal=_seal(fernhill, [follows], ada))
    approve(fernhill, ada, pks=[person.pk], seal=_seal(fernhill, [person], ada))
    SyncRun.objects.filter(state="QUEUED").delete()
    synced(fernhill)

    assert members() == {MILO}
    assert DirectoryUser.objects.get(object_id=ANA).state == "GONE"
    assert not HeldChange.objects.filter(closed_at=None).exists()


def _seal(idp: CloudIdentityProvider, held: list[HeldChange], actor: User) -> str:
    return decisions.review(idp, held, viewer=actor, now=timezone.now()).seal


OTHER: dict[str, Callable[[CloudIdentityProvider], Any]] = {
    "more is held": lambda idp: synced(idp, groups=[group(TEAM, left(MILO))]),
    "another device follows": lambda idp: factories.bind(
        factories.account_group("Readers", site=factories.site()),
        DirectoryGroup.objects.get(object_id=TEAM),
    ),
}


@pytest.mark.parametrize("way", OTHER)
def test_f40_an_approval_is_void_when_what_was_approved_is_another(
    fernhill: CloudIdentityProvider, ada: User, way: str
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    approve(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    OTHER[way](fernhill)
    synced(fernhill)

    assert members() == {ANA, MILO}
    held = HeldChange.objects.get(closed_at=None)
    assert held.decision is None
    assert held.decided.get().outcome == DecidedChange.Outcome.VOID


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"seal": "what somebody saw before"}, "has changed since you looked"),
        ({"typed": "Fernhill"}, "Type the name of the connection"),
        ({"reason": "  "}, "Say why"),
        ({"pks": [999]}, "no longer held"),
    ],
)
def test_an_approval_that_is_refused_decides_nothing(
    fernhill: CloudIdentityProvider, ada: User, given: dict[str, Any], why: str
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    with pytest.raises(CannotDecide, match=why):
        approve(fernhill, ada, **given)
    assert not Decision.objects.exists()
    assert not SyncRun.objects.filter(state="QUEUED").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_nobody_approves_what_gives_a_privilege_to_themselves(
    fernhill: CloudIdentityProvider, ada: User, nested: bool
) -> None:
    """Noor is an administrator by an account group, and joins one with Full Access."""
    noor = factories.entra_account(
        DirectoryUser.objects.get(object_id=NOOR),
        access_level="SITE",
        site=factories.site(),
        privilege_set="AUDITOR",
    )
    target = TEAM
    if nested:
        target = guid("inner")
        take(
            fernhill,
            groups=[group(target), group(TEAM, member(target, "group"))],
        )
    factories.bind(
        factories.account_group("Administrators"),
        DirectoryGroup.objects.get(object_id=TEAM),
        nested=nested,
    )
    User.objects.filter(pk=noor.pk).update(
        access_level="GROUP", site=None, privilege_set=""
    )
    noor.refresh_from_db()
    synced(fernhill, groups=[group(target, member(NOOR))])

    with pytest.raises(CannotDecide, match="give you privileges"):
        approve(fernhill, noor)
    approve(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    synced(fernhill)
    assert NOOR in members()


def test_a_rejected_change_differs_until_its_end(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    reject(fernhill, ada)
    fernhill.guard_limits.delete()
    synced(fernhill)

    assert members() == {ANA, MILO}, "no guard holds it any more, the decision does"
    assert HeldChange.objects.filter(decision__isnull=False).exists()

    Decision.objects.update(ends_at=timezone.now() - timedelta(minutes=1))
    synced(fernhill)

    held = HeldChange.objects.get()
    assert held.decided.get().outcome == DecidedChange.Outcome.ENDED
    assert held.decision is None
    assert held.closed_at is None, "whoever rejected it did not approve it by waiting"


def test_a_rejection_holds_what_no_guard_holds_any_more(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    binding = factories.bind(
        factories.account_group("Administrators"),
        DirectoryGroup.objects.get(object_id=TEAM),
    )
    synced(fernhill, groups=[group(TEAM, member(NOOR))])
    reject(fernhill, ada)
    binding.delete()
    synced(fernhill)
    assert members() == {ANA, MILO}

    Decision.objects.update(ends_at=timezone.now() - timedelta(minutes=1))
    synced(fernhill)
    assert members() == {ANA, MILO, NOOR}


def test_what_entra_takes_back_ends_the_decision(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    reject(fernhill, ada)
    synced(fernhill, groups=[group(TEAM, member(ANA))])

    held = HeldChange.objects.get()
    assert held.outcome == HeldChange.Outcome.HEALED
    assert held.decided.get().outcome == DecidedChange.Outcome.HEALED


def test_a_rejection_is_about_what_was_rejected(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    reject(fernhill, ada)
    synced(fernhill, groups=[group(TEAM, left(MILO))])

    held = HeldChange.objects.get(closed_at=None)
    assert held.decision is None
    assert members() == {ANA, MILO}


def test_a_notice_lasts_as_long_as_something_waits(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    notice = Notice.objects.get(kind="held-changes")
    assert notice.title == "Changes of Fernhill Studio are held"
    assert notice.resolved_at is None

    reject(fernhill, ada)
    notice.refresh_from_db()
    assert notice.resolved_at is not None


# --- Hold everything


@pytest.mark.parametrize("of_all", [False, True])
def test_while_everything_is_held_only_privileges_are_lost(
    fernhill: CloudIdentityProvider, ada: User, of_all: bool
) -> None:
    fernhill.guard_limits.delete()
    factories.bind(
        factories.account_group("Readers", site=factories.site()),
        DirectoryGroup.objects.get(object_id=TEAM),
    )
    ana = factories.entra_account(DirectoryUser.objects.get(object_id=ANA))
    held = hold_everything.hold(
        cloud_idp=None if of_all else fernhill,
        reason="The tenant is being attacked",
        actor=ada,
        now=timezone.now(),
    )
    synced(
        fernhill,
        users=[user(guid("new"))],
        groups=[group(TEAM, left(ANA), member(NOOR))],
    )

    assert members() == {ANA, MILO}
    assert not DirectoryUser.objects.filter(object_id=guid("new")).exists()
    assert not standing.read(ana, now=timezone.now()).holds("scoping.view_policy")

    hold_everything.release(held, reason="Over", actor=ada, now=timezone.now())
    synced(fernhill)
    assert members() == {MILO, NOOR}
    assert DirectoryUser.objects.filter(object_id=guid("new")).exists()


def test_an_approval_waits_while_everything_is_held(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    approve(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    hold_everything.hold(cloud_idp=None, reason="Wait", actor=ada, now=timezone.now())
    synced(fernhill)
    assert members() == {ANA, MILO}


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_f40_a_decision_is_void_when_more_was_held_while_everything_was(
    fernhill: CloudIdentityProvider, ada: User, verdict: str
) -> None:
    """It is about what was decided, whatever is stored of it by then."""
    synced(fernhill, groups=[group(TEAM, left(ANA))])
    if verdict == "approved":
        approve(fernhill, ada)
    else:
        reject(fernhill, ada)
    SyncRun.objects.filter(state="QUEUED").delete()
    everything = hold_everything.hold(
        cloud_idp=None, reason="Wait", actor=ada, now=timezone.now()
    )
    synced(fernhill, groups=[group(TEAM, left(MILO))])
    hold_everything.release(everything, reason="Over", actor=ada, now=timezone.now())
    synced(fernhill)

    assert members() == {ANA, MILO}, "nobody approved that Milo leaves"
    held = HeldChange.objects.get(closed_at=None)
    assert held.decision is None
    assert held.decided.get().outcome == DecidedChange.Outcome.VOID


def test_an_approval_is_over_when_the_rest_waits_for_somebody_else(
    fernhill: CloudIdentityProvider, ada: User
) -> None:
    """Ana left Team. Milo is deleted, and his membership waits with him."""
    synced(fernhill, groups=[group(TEAM, left(ANA), left(MILO))])
    synced(fernhill, users=[removed(MILO, "deleted")])
    team = HeldChange.objects.get(kind="G", closed_at=None)
    approve(fernhill, ada, pks=[team.pk], seal=_seal(fernhill, [team], ada))
    SyncRun.objects.filter(state="QUEUED").delete()
    synced(fernhill)

    assert members() == {MILO}
    team.refresh_from_db()
    assert (team.decision, team.closed_at) == (None, None)
    assert team.decided.get().outcome == DecidedChange.Outcome.APPLIED
    milo = HeldChange.objects.get(kind="U", closed_at=None)
    approve(fernhill, ada, pks=[milo.pk], seal=_seal(fernhill, [milo], ada))
    SyncRun.objects.filter(state="QUEUED").delete()
    synced(fernhill)
    assert members() == set()
    assert not HeldChange.objects.filter(closed_at=None).exists()
