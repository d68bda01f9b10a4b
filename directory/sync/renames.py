"""Telling of groups that have another name: one notice for a sync, however many."""

from django.urls import reverse

from directory.sync.differences import Plan
from directory.sync.usage import groups_in_use
from jamfidp.notices.announce import announce
from jamfidp.notices.kinds import RENAMED_GROUPS
from jamfidp.notices.models import Severity

# So many at once are worth a word even where nothing uses them.
MANY = 20


def announce_renames(plan: Plan, run_id: int) -> None:
    """Tell that groups were renamed, where it concerns something or they are many.

    Names bind nothing: scopes and privileges hold the object id, and stay as they are.
    """
    renamed = {
        number: change
        for number, change in plan.groups.changes.items()
        if change.before.get("display_name") and change.after.get("display_name")
    }
    if not renamed:
        return
    used = {number for number, _nested in groups_in_use(plan.cloud_idp)} & set(renamed)
    if not used and len(renamed) < MANY:
        return
    count = len(renamed)
    were = "group was" if count == 1 else "groups were"
    using = f"Scopes or privileges use {len(used):,} of them. " if used else ""
    announce(
        kind=RENAMED_GROUPS,
        severity=Severity.INFO,
        title=f"{count:,} {were} renamed in {plan.cloud_idp}",
        # No names: who may read of syncs need not be one who may see groups.
        body=f"{using}What is in scope and who holds which privilege stays as it is: "
        "groups are known by their object id. The plan of the sync lists them.",
        link=reverse("directory:syncrun-plan", args=[run_id]),
        about=plan.cloud_idp,
        now=plan.now,
    )
