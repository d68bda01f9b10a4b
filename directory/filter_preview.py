"""What a filter would leave out of a connection, worked out before it is saved."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Count, QuerySet

from directory.dependents import ObjectRef, Use, registered
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryUser,
    State,
)
from directory.sync.attributes import GroupRow, UserRow
from directory.sync.filters import ReadFilter
from jamfidp.access import ConsoleUser

NAMES_SHOWN = 50
# From this part of what is read on, a filter is confirmed by typing.
MANY_PERCENT = 10


@dataclass(frozen=True, slots=True)
class UsedAndDropped:
    """Something that the console names and would not read, and what names it."""

    name: str
    url: str
    uses: Sequence[Use]


@dataclass(slots=True)
class Preview:
    """Counts and names; of many the first ones by name."""

    groups: int = 0
    people: int = 0
    groups_dropped: int = 0
    people_dropped: int = 0
    # Left out by the filter so far: a full read brings them back.
    groups_returning: int = 0
    people_returning: int = 0
    group_names: list[DirectoryGroup] = field(default_factory=list)
    person_names: list[DirectoryUser] = field(default_factory=list)
    used: list[UsedAndDropped] = field(default_factory=list)

    @property
    def drops_much(self) -> bool:
        return bool(
            self.used
            or self.groups_dropped * 100 > self.groups * MANY_PERCENT
            or self.people_dropped * 100 > self.people * MANY_PERCENT
        )


def preview(
    cloud_idp: CloudIdentityProvider, chosen: ReadFilter, *, viewer: ConsoleUser
) -> Preview:
    """Compare a filter with the rows of the last read.

    What depends on it is told as far as the viewer may see it; `used` names the rest
    without saying where.
    """
    found = Preview()
    dropped_groups = _groups(cloud_idp, chosen, found)
    dropped_people = _people(cloud_idp, chosen, found)
    _uses(cloud_idp, dropped_groups, dropped_people, found, viewer)
    return found


def _groups(
    cloud_idp: CloudIdentityProvider, chosen: ReadFilter, found: Preview
) -> dict[str, DirectoryGroup]:
    dropped: dict[str, DirectoryGroup] = {}
    columns = ("display_name", "kind", "is_dynamic", "is_assignable_to_role")
    rows = DirectoryGroup.objects.filter(
        cloud_idp=cloud_idp, state__in=[State.PRESENT, State.FILTERED]
    ).order_by("sort_key", "pk")
    for group in rows.only("object_id", "state", "sort_key", *columns).iterator(2000):
        values = {name: getattr(group, name) for name in columns}
        row = GroupRow(State.PRESENT, None, state_told=True, **values)
        kept = chosen.keeps_group(group.object_id, row)
        if group.state == State.FILTERED:
            found.groups_returning += kept
            continue
        found.groups += 1
        if not kept:
            found.groups_dropped += 1
            dropped[group.object_id] = group
    found.group_names = list(dropped.values())[:NAMES_SHOWN]
    return dropped


def _people(
    cloud_idp: CloudIdentityProvider, chosen: ReadFilter, found: Preview
) -> QuerySet[DirectoryUser]:
    """A filter looks at two columns of people, so their values are counted."""
    people = DirectoryUser.objects.filter(cloud_idp=cloud_idp)
    dropped = DirectoryUser.objects.none()
    for state, kind, enabled, count in (
        people.filter(state__in=[State.PRESENT, State.FILTERED])
        .values_list("state", "user_type", "account_enabled")
        .annotate(count=Count("pk"))
        .order_by()
    ):
        row = UserRow(
            State.PRESENT,
            None,
            state_told=True,
            user_type=kind,
            account_enabled=enabled,
        )
        kept = chosen.keeps_person(row)
        if state == State.FILTERED:
            found.people_returning += count if kept else 0
            continue
        found.people += count
        if not kept:
            found.people_dropped += count
            dropped |= people.filter(
                state=State.PRESENT, user_type=kind, account_enabled=enabled
            )
    found.person_names = list(dropped.order_by("sort_key", "pk")[:NAMES_SHOWN])
    return dropped


def _uses(
    cloud_idp: CloudIdentityProvider,
    groups: dict[str, DirectoryGroup],
    people: QuerySet[DirectoryUser],
    found: Preview,
    viewer: ConsoleUser,
) -> None:
    tenant = cloud_idp.tenant_id
    in_use = {
        each.object_id for one in registered() for each in one.groups_in_use(tenant)
    }
    named = {each for one in registered() for each in one.people_named(tenant)}
    for object_id in sorted(in_use & groups.keys()):
        group = groups[object_id]
        uses = [
            use
            for one in registered()
            for use in one.uses_of_group(ObjectRef(tenant, object_id), viewer=viewer)
        ]
        found.used.append(UsedAndDropped(str(group), group.get_absolute_url(), uses))
    for person in people.filter(object_id__in=sorted(named)).order_by("sort_key"):
        uses = [
            use
            for one in registered()
            for use in one.uses_of_user(
                ObjectRef(tenant, person.object_id), viewer=viewer
            )
        ]
        found.used.append(UsedAndDropped(str(person), person.get_absolute_url(), uses))
