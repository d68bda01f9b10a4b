"""Pages of held changes: what waits, deciding, and what other pages say of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pyroaring import BitMap

from directory import decisions
from directory.dependents import (
    Consequence,
    ConsequenceKind,
    ObjectOfConsole,
    Subject,
)
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DecidedChange,
    Decision,
    DirectoryGroup,
    DirectoryUser,
    EverythingHeld,
    GuardLimits,
    HeldChange,
    SyncRun,
)
from directory.views.held_changes import lines_of
from jamfidp.history.models import ObjectHistory
from scoping.models import SmartGroup, SmartGroupCriterion
from tests import factories
from tests.directory.journey import browser_for
from tests.directory.rounds import group, guid, left, member, take, user
from tests.directory.test_decisions import guarded
from tests.scoping.inventory_rows import device, limited_to, scoped

ANA, MILO, TEAM = map(guid, ("ana", "milo", "team"))


@pytest.fixture
def held(db: None) -> HeldChange:
    """Ana left Team in Entra, and that is held."""
    idp = factories.cloud_idp(first_complete_read_at=None)
    AttributeMappings.objects.create(cloud_idp=idp)
    take(
        idp,
        full=True,
        users=[user(ANA, displayName="Ana Ruiz"), user(MILO)],
        groups=[group(TEAM, member(ANA), member(MILO), displayName="Team")],
    )
    factories.guard_limits(idp, 1)
    take(idp, groups=[group(TEAM, left(ANA), displayName="Team")], decide=guarded)
    return HeldChange.objects.get()


@pytest.fixture
def browser(db: None) -> Client:
    return browser_for(factories.administrator("ada"))


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_the_list_says_what_is_held_and_why(held: HeldChange, browser: Client) -> None:
    page = text(browser.get(reverse("directory:heldchange-list")))
    assert "1 person leaves" in page
    assert "Many memberships lost" in page
    assert 'aria-label="1 waiting"' in page, "the badge of the navigation"


def test_a_held_change_names_who_leaves_and_asks_for_the_name(
    held: HeldChange, browser: Client
) -> None:
    page = text(browser.get(held.get_absolute_url()))
    assert "People who leave" in page
    assert "Ana Ruiz" in page
    assert "More memberships would be lost" in page
    assert "Nothing else of the console is touched" in page
    assert "To approve, type" in page


def test_a_sync_that_applies_it_while_the_page_is_made_is_not_shown_in_halves(
    held: HeldChange, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = decisions.review

    def overtaken(*args: Any, **named: Any) -> Any:
        HeldChange.objects.update(
            closed_at=timezone.now(), outcome=HeldChange.Outcome.APPLIED
        )
        return review(*args, **named)

    monkeypatch.setattr(decisions, "review", overtaken)
    page = text(browser.get(reverse("directory:heldchange-detail", args=[held.pk])))

    assert "Closed" in page
    assert "Waits for a decision" not in page
    assert "Days until the rejection ends" not in page


def decided(browser: Client, held: HeldChange, **given: Any) -> Any:
    page = browser.get(held.get_absolute_url())
    return browser.post(
        reverse("directory:heldchange-review", args=[held.cloud_idp_id]),
        {
            "change": held.pk,
            "seal": page.context["review"].seal,
            "typed": "Fernhill Studio",
            "reason": "They moved",
            "days": "7",
        }
        | given,
    )


def test_approving_asks_for_a_sync(held: HeldChange, browser: Client) -> None:
    answer = decided(browser, held, verdict="approve")
    assert answer.status_code == 302
    assert Decision.objects.get().verdict == Decision.Verdict.APPROVED
    assert SyncRun.objects.filter(state=SyncRun.State.QUEUED).exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"verdict": "approve", "typed": ""}, "Type the name of the connection"),
        ({"verdict": "approve", "seal": "old"}, "has changed since you looked"),
        ({"verdict": "reject", "days": "0"}, "ends after 1 to 365 days"),
        ({"verdict": "reject", "reason": ""}, "Say why"),
    ],
)
def test_a_refusal_stands_beside_the_form_and_keeps_what_was_typed(
    held: HeldChange, browser: Client, given: dict[str, str], why: str
) -> None:
    answer = decided(browser, held, **given)
    assert answer.status_code == 400
    page = text(answer)
    assert why in page
    assert given.get("reason", "They moved") in page
    assert not Decision.objects.exists()


def test_a_rejection_stands_on_every_page_that_it_concerns(
    held: HeldChange, browser: Client
) -> None:
    decided(browser, held, verdict="reject")
    ana = DirectoryUser.objects.get(object_id=ANA)
    team = DirectoryGroup.objects.get(object_id=TEAM)

    policy = scoped("Wi-Fi", limited_to(team), everything=True)
    smart_group = SmartGroup.objects.create(kind="COMPUTER", name="Macs of Team")
    SmartGroupCriterion.objects.create(
        group=smart_group,
        priority=0,
        name="Directory group",
        search_type="member of",
        value="Team",
        tenant_id=team.cloud_idp.tenant_id,
        object_id=team.object_id,
    )
    account_group = factories.account_group("Mac Admins")
    factories.bind(account_group, team)

    decision = "ffers from Entra by decision of <bdi>"
    for url, said in (
        (held.get_absolute_url(), f"Di{decision}"),
        (team.get_absolute_url(), f"Di{decision}"),
        (ana.get_absolute_url(), f"<bdi>Team</bdi> di{decision}"),
        (
            reverse("scoping:policy-scope", args=[policy.pk]),
            f"<bdi>Team</bdi> di{decision}",
        ),
        (
            reverse("scoping:smartcomputergroup-detail", args=[smart_group.pk]),
            f"<bdi>Team</bdi> di{decision}",
        ),
        (account_group.get_absolute_url(), f"<bdi>Team</bdi> di{decision}"),
    ):
        shown = text(browser.get(url))
        assert said in shown
        assert "Reason: <bdi>They moved</bdi>" in shown
    members = text(browser.get(f"{team.get_absolute_url()}?members=direct"))
    assert members.count("differs from Entra by decision of") == 1


def test_a_scope_says_what_is_held_of_nested_groups_where_these_count(
    held: HeldChange, browser: Client
) -> None:
    team = DirectoryGroup.objects.get(object_id=TEAM)
    above = factories.directory_group("Division", team.cloud_idp, team)
    nested = scoped("Wi-Fi", limited_to(above), everything=True)
    direct = scoped("VPN", limited_to(above, nested=False), everything=True)

    url = reverse("scoping:policy-scope", args=[nested.pk])
    assert "A change of <bdi>Division</bdi> from Entra is held" in text(
        browser.get(url)
    )
    url = reverse("scoping:policy-scope", args=[direct.pk])
    assert "from Entra is held" not in text(browser.get(url))


def test_an_approval_that_became_void_is_said_until_somebody_decides_anew(
    held: HeldChange, browser: Client
) -> None:
    decided(browser, held, verdict="approve")
    assert "The approval is void" not in text(browser.get(held.get_absolute_url()))
    # As the run does that finds another thing held.
    DecidedChange.objects.update(outcome=DecidedChange.Outcome.VOID)
    HeldChange.objects.update(decision=None)

    shown = text(browser.get(held.get_absolute_url()))
    assert "The approval is void: something changed after it." in shown
    assert "They moved" in shown
    decided(browser, held, verdict="reject")
    assert "The approval is void" not in text(browser.get(held.get_absolute_url()))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?guard=full-access", "Nothing of this is held"),
        ("?state=rejected", "Nothing is rejected"),
        ("?state=approved", "Nothing approved is left to apply"),
        ("?state=closed&connection=1", "Nothing was closed yet"),
    ],
)
def test_an_empty_list_says_what_is_not_there(
    held: HeldChange, browser: Client, query: str, said: str
) -> None:
    page = text(browser.get(reverse("directory:heldchange-list") + query))
    assert said in page


def test_whoever_may_not_decide_sees_and_does_not(held: HeldChange) -> None:
    reader = browser_for(factories.custom_account("rea", "View Sync Runs"))
    page = text(reader.get(held.get_absolute_url()))
    assert "needs the privilege Approve Held Changes" in page
    assert "Ana Ruiz" not in page, "nor sees people without the privilege"

    for url in (
        reverse("directory:heldchange-review", args=[held.cloud_idp_id]),
        reverse("directory:hold-everything"),
    ):
        assert reader.post(url, {"change": held.pk}).status_code == 403


def test_while_everything_is_held_every_page_says_so(
    held: HeldChange, browser: Client
) -> None:
    refused = browser.post(reverse("directory:hold-everything"), {"reason": " "})
    assert "Say why" in text(refused)
    browser.post(reverse("directory:hold-everything"), {"reason": "An attack"})

    page = text(browser.get(reverse("directory:user-list")))
    assert "Everything of all connections is held." in page
    assert "An attack" in page

    everything = EverythingHeld.objects.get()
    url = reverse("directory:hold-everything-release", args=[everything.pk])
    browser.post(url, {"reason": "Over"})
    assert "An attack" not in text(browser.get(reverse("directory:user-list")))
    assert CloudIdentityProvider.objects.exists()


def test_limits_are_set_for_each_connection(held: HeldChange, browser: Client) -> None:
    url = reverse("directory:cloud-idp-limits", args=[held.cloud_idp_id])
    GuardLimits.objects.all().delete()
    shown = browser.get(url).context["form"].initial
    assert (shown["people_percent"], shown["people_absolute"]) == (10, 500)

    refused = browser.post(url, shown | {"members_percent": 101})
    assert refused.context["form"].errors.keys() == {"members_percent"}
    browser.post(url, shown | {"members_percent": 30})

    assert GuardLimits.objects.get().members_percent == 30
    entry = ObjectHistory.objects.first()
    assert entry is not None
    assert entry.details == {"members_percent": [20, 30]}


def test_a_derivation_says_where_it_differs_from_entra(
    held: HeldChange, browser: Client
) -> None:
    mac = device("Ana's Mac", logged_in=DirectoryUser.objects.get(object_id=ANA))
    team = DirectoryGroup.objects.get(object_id=TEAM)
    policy = scoped("Wi-Fi", limited_to(team), everything=True)
    decided(browser, held, verdict="reject")

    page = text(
        browser.get(reverse("scoping:policy-derivation", args=[policy.pk, mac.pk]))
    )
    assert "Differs from Entra by decision of" in page


def test_what_follows_is_said_as_the_plan_says_it(db: None) -> None:
    """Also of what counts nobody: a reference that breaks."""
    policy = ObjectOfConsole(
        app="scoping",
        kind="policy",
        pk=1,
        name="VPN client",
        url="/computers/policies/1/",
        permission="scoping.view_policy",
    )
    consequences = [
        Consequence(
            kind=ConsequenceKind.REFERENCE_BREAKS,
            about=policy,
            subject=Subject.PERSON,
            what=("Engineering",),
            detail="It was deleted in Entra.",
        ),
        Consequence(
            kind=ConsequenceKind.SCOPE_LEFT,
            about=policy,
            subject=Subject.COMPUTER,
            numbers=BitMap([1, 2]),
        ),
    ]

    lines, hidden = lines_of(consequences, factories.administrator("eve"))

    assert [line.title for line in lines] == [
        "Engineering can no longer be used by VPN client",
        "2 computers leave the scope of VPN client",
    ]
    assert hidden == 0
