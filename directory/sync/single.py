"""Reading one person or one group now, in named steps.

What is asked are look-ups by object id, and what they say is planned, guarded and
applied as a round of changes. The delta links stay where they are: a later round
repeats it, and repeats it harmlessly. A read that goes on meanwhile plans anew and
leaves alone what was read here, see `run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Q, QuerySet
from pyroaring import BitMap

from directory import clouds, permission_use, tokens
from directory.entra import EntraSession, GraphClient, Removed, errors
from directory.entra.ids import ObjectId
from directory.entra.objects import GROUP_PROPERTIES
from directory.entra.transport import Exchange
from directory.models import (
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryObject,
    DirectoryUser,
    GroupClosure,
    GroupNesting,
    GroupOtherMember,
    HeldChange,
    State,
    SyncRun,
)
from directory.permissions import Feature
from directory.sync import returned
from directory.sync.apply import PlanOutdated, apply_plan
from directory.sync.bitmaps import unpack
from directory.sync.differences import Plan
from directory.sync.fetch import Clock
from directory.sync.foresee import after_guards
from directory.sync.holds import Decide, Held
from directory.sync.lease import APPLY_LEASE, Lease
from directory.sync.numbers import Register
from directory.sync.observe import DEPARTED
from directory.sync.plan import make_plan
from directory.sync.reduce import Reducer
from directory.sync.request import request_object
from directory.sync.rows import chunks
from directory.sync.selection import Selection, selection_of
from directory.sync.stage import Pages, Resource, Round, staged
from directory.sync.stored import in_state
from directory.sync.stored_plans import prepare
from directory.sync.traffic import Traffic
from jamfidp.compiled import Compiled, Question, answers_to

Kind = DirectoryObject.Kind
Json = dict[str, Any]

# Of the whole look-up; whoever waits for it waits no longer.
SECONDS = 60.0
# Groups whose members are asked for at most, of a person whose groups are not certain,
# and people who are asked about at most, of a group that does not list them any more:
# somebody waits. With more, the next read is one of everything.
ASKED = 50
PEOPLE_ASKED = 400
# Members of a group that is asked whether it still holds somebody: ten pages. Of a larger
# one it is enough that the person's groups do not name it.
LARGE = 10_000
REASON = "Somebody was read alone, or a group, and not all of it was certain."
# How often a plan is made anew because something else was applied meanwhile.
ATTEMPTS = 5
USER_TYPE = "#microsoft.graph.user"
GROUP_TYPE = "#microsoft.graph.group"


class NotKnown(Exception):
    """The object has no row any more."""


@dataclass(slots=True)
class Steps:
    """The steps of one read, kept in the run's row as they happen."""

    lease: Lease
    clock: Clock
    done: list[Json] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    _requests: list[Json] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """One step; what is called says what it came to."""
        began = time.monotonic()
        now = self.clock()
        self.lease.renew(
            phase=name, heartbeat_at=now, lease_expires_at=now + APPLY_LEASE
        )
        said: list[str] = []
        entry: Json = {"name": name, "state": "failed"}
        self.done.append(entry)
        try:
            yield said.append
            entry["state"] = "done"
        finally:
            entry["detail"] = " ".join(said)
            entry["seconds"] = round(time.monotonic() - began, 3)
            entry["requests"], self._requests = self._requests, []
            self.lease.write(steps=self.done, **self.traffic.take())

    def exchanged(self, exchange: Exchange) -> None:
        self.traffic.exchanged(exchange)
        self._requests.append(
            {
                "request": f"{exchange.method} {exchange.template}",
                "status": exchange.status,
                "seconds": round(exchange.seconds, 3),
                "request_id": exchange.request_id,
            }
        )

    def waiting(self, seconds: float, reason: str) -> None:
        self.traffic.waiting(seconds, reason)


@dataclass(slots=True)
class Answer:
    """What Microsoft said, as items of a round of changes."""

    users: list[Json] = field(default_factory=list)
    groups: list[Json] = field(default_factory=list)
    gone: bool = False
    # Something is left to a read of everything: no read of changes will say it.
    partial: bool = False


def read_one(run: SyncRun, lease: Lease, *, clock: Clock, decide: Decide) -> None:
    """Look one object up, compare, plan, guard and apply.

    Raises:
        EntraError: Microsoft could not be asked. Nothing was applied.
        NotKnown, PlanOutdated, LeaseLost, Canceled
    """
    steps = Steps(lease, clock)
    target = DirectoryObject.objects.filter(
        pk=run.object_number or 0, cloud_idp=run.cloud_idp
    ).first()
    if target is None:
        raise NotKnown
    selection = selection_of(run.cloud_idp)
    with EntraSession(
        clouds.cloud(run.cloud_idp.cloud), observer=steps, total_seconds=SECONDS
    ) as session:
        graph = tokens.graph_client(
            run.cloud_idp, session=session, priority="high", insist=True
        )
        try:
            if target.kind == Kind.USER:
                answer = _look_up_person(graph, target, selection, steps)
            else:
                answer = _look_up_group(graph, target, selection, steps)
        finally:
            permission_use.note(run.cloud_idp, Feature.LOOK_UP, graph.used, now=clock())
    _apply(run, lease, target, answer, steps, clock=clock, decide=decide)


# Asking --------------------------------------------------------------------------


def _look_up_person(
    graph: GraphClient, target: DirectoryObject, selection: Selection, steps: Steps
) -> Answer:
    answer = Answer()
    with steps.step("Look the person up in Microsoft Graph") as say:
        try:
            user = graph.get_user(target.object_id, properties=selection.properties)
        except errors.DirectoryObjectNotFound:
            answer.gone = True
            say("Microsoft knows nobody with this object ID: deleted.")
            return answer
        answer.users.append({**user.properties, "id": target.object_id})
        say("Found.")
    with steps.step("Ask which groups hold the person") as say:
        holding = {
            group.id.lower() for group in graph.transitive_member_of(target.object_id)
        }
        say(f"{len(holding):,}, those through nested groups included.")
    known = {
        group.object_id: group
        for group in DirectoryGroup.objects.filter(
            cloud_idp_id=target.cloud_idp_id, state=State.PRESENT
        ).filter(object_id__in=holding)
    }
    mine = DirectoryMembership.objects.filter(user_id=target.pk)
    direct = {
        group.pk: group
        for group in DirectoryGroup.objects.filter(
            Q(pk__in=mine.values("group_id")) | Q(pk__in=_held_joins(target)),
            state=State.PRESENT,
            hidden_membership=False,
        )
    }
    left = [group for group in direct.values() if group.object_id not in holding]
    # Of these it is known already, and to name them would say that they are back.
    said = _held_states(target.cloud_idp)
    left = [g for g in left if said.get(g.pk, State.PRESENT) == State.PRESENT]
    # Which groups somebody is in may be told later than whom a group holds: it is the
    # group that is believed, as it is when everything is read.
    late = [group for group in left if group.direct_users <= LARGE][:ASKED]
    left = [group for group in left if group not in late]
    # Whoever left one loses something by it: these come first.
    unsure = sorted(_unsure(known, direct), key=lambda group: group.pk not in direct)
    unsure = [*late, *unsure]
    joined: list[DirectoryGroup] = []
    if unsure:
        with steps.step("Ask the groups of which it is not certain") as say:
            unreadable = 0
            for group in unsure[:ASKED]:
                try:
                    is_direct = any(
                        member.id.lower() == target.object_id
                        for page in graph.members(group.object_id)
                        for member in page.members
                    )
                except (
                    errors.PermissionMissing,
                    errors.DirectoryObjectNotFound,
                ) as error:
                    answer.partial |= isinstance(error, errors.PermissionMissing)
                    if group in late:
                        left.append(group)
                    else:
                        unreadable += 1
                    continue
                if is_direct and group.pk not in direct:
                    joined.append(group)
                elif not is_direct and group.pk in direct:
                    left.append(group)
            say(f"{len(unsure[:ASKED]):,} asked for their direct members.")
            if len(unsure) > ASKED:
                answer.partial = True
                say(
                    f"{len(unsure) - ASKED:,} more are left to the next read, which is "
                    "a full one for that."
                )
            if unreadable:
                say(f"{unreadable:,} did not answer and stay as they are.")
    unknown = len(holding) - len(known)
    if unknown and steps.done:
        steps.done[-1]["detail"] += (
            f" {unknown:,} of the groups have not been read yet; the next read brings "
            "them."
        )
    entry = {"@odata.type": USER_TYPE, "id": target.object_id}
    for group in joined:
        answer.groups.append({"id": group.object_id, "members@delta": [entry]})
    for group in left:
        gone = entry | {"@removed": {"reason": "deleted"}}
        answer.groups.append({"id": group.object_id, "members@delta": [gone]})
    return answer


def _held_joins(target: DirectoryObject) -> list[int]:
    """Groups whose joining by the person is held."""
    held = HeldChange.objects.filter(
        cloud_idp_id=target.cloud_idp_id, closed_at=None, users_joined__isnull=False
    )
    return [row.number for row in held if target.pk in unpack(row.users_joined)]


def _held_states(cloud_idp: CloudIdentityProvider) -> dict[int, str]:
    """What Entra said last of the state of those of whom that is held."""
    rows = HeldChange.objects.filter(
        cloud_idp=cloud_idp, closed_at=None, observed__isnull=False
    ).values_list("number", "observed")
    return {number: row["state"] for number, row in rows if row}


def _unsure(
    holding: dict[str, DirectoryGroup], direct: dict[int, DirectoryGroup]
) -> list[DirectoryGroup]:
    """The groups that hold somebody, perhaps directly and perhaps through others.

    Certain are those that nothing nested in them explains and that are known to be
    direct, and those that are not known to be and that something direct explains.
    """
    numbers = {group.pk for group in holding.values()}
    # Whom the others hold is not known here, or not said.
    unseen = Q(descendant__hidden_membership=True) | Q(descendant__state=State.FILTERED)
    explained = set(
        GroupClosure.objects.filter(
            Q(descendant_id__in=numbers) | unseen, ancestor_id__in=numbers
        ).values_list("ancestor_id", flat=True)
    )
    explained |= _newly_nesting(numbers)
    stays = BitMap(number for number in direct if number in numbers)
    by_direct = set(
        GroupClosure.objects.filter(
            ancestor_id__in=numbers, descendant_id__in=list(stays)
        ).values_list("ancestor_id", flat=True)
    )
    return [
        group
        for group in holding.values()
        if not group.hidden_membership
        and (
            (group.pk in direct and group.pk in explained)
            or (group.pk not in direct and group.pk not in by_direct)
        )
    ]


def _newly_nesting(groups: Iterable[int]) -> set[int]:
    """Those of the groups in which others are nested, which is held."""
    rows = HeldChange.objects.filter(
        number__in=groups, closed_at=None, groups_joined__isnull=False
    )
    return set(rows.values_list("number", flat=True))


def _look_up_group(
    graph: GraphClient, target: DirectoryObject, selection: Selection, steps: Steps
) -> Answer:
    answer = Answer()
    with steps.step("Look the group up in Microsoft Graph") as say:
        try:
            group = graph.get_group(target.object_id)
        except errors.DirectoryObjectNotFound:
            answer.gone = True
            say("Microsoft knows no group with this object ID: deleted.")
            return answer
        item: Json = {**group.properties, "id": target.object_id}
        if selection.group_name not in GROUP_PROPERTIES:
            # It is called by another property, which this look-up does not bring.
            item.pop("displayName", None)
        answer.groups.append(item)
        say("Found.")
    if group.has_hidden_membership:
        with steps.step("Ask for its members") as say:
            say("The group hides its members; they were not asked for.")
        return answer
    with steps.step("Ask for its members") as say:
        members = {
            member.id.lower(): {
                "@odata.type": member.odata_type,
                "id": member.id.lower(),
            }
            for page in graph.members(target.object_id)
            for member in page.members
        }
        say(f"{len(members):,} direct members.")
    known = _members_of(target)
    missing = {each: known[each] for each in known.keys() - members.keys()}
    people = sorted(each for each, sort in missing.items() if sort == USER_TYPE)
    if people:
        with steps.step("Ask who left and who is deleted") as say:
            stay, deleted = _not_listed(graph, target, people[:PEOPLE_ASKED])
            for each in stay | deleted:
                del missing[each]
            answer.users += map(_deleted, sorted(deleted))
            left = len(people) - len(stay) - len(deleted)
            say(f"{left:,} left the group, {len(deleted):,} are deleted.")
            if len(people) > PEOPLE_ASKED:
                answer.partial = True
                say(
                    "Not all were asked about: the next read is a full one and says "
                    "who of them is deleted."
                )
    entries: list[Json] = list(members.values())
    entries += [
        {"@odata.type": odata_type, "id": object_id, "@removed": {"reason": "deleted"}}
        for object_id, odata_type in missing.items()
    ]
    if entries:
        item["members@delta"] = entries
    return answer


def _not_listed(
    graph: GraphClient, target: DirectoryObject, people: list[str]
) -> tuple[set[str], set[str]]:
    """Return which of the people whom a group did not list are in it all the same, and
    which are deleted: these are listed nowhere, and come back to the group.

    Raises:
        EntraError: somebody was not answered about.
    """
    group = target.object_id
    answers = graph.confirm_memberships({each: [group] for each in people})
    deleted, inside = set(), set()
    for each in people:
        said = answers[ObjectId(each)]
        if said.gone:
            deleted.add(each)
        elif said.error is not None:
            raise said.error
        elif said.value:
            inside.add(each)
    if inside:
        # Through a nested group, or again since the group was asked.
        inside &= {m.id.lower() for page in graph.members(group) for m in page.members}
    return inside, deleted


def _members_of(target: DirectoryObject) -> dict[str, str]:
    """The members that are known of a group by object id, with Graph's type: those in
    effect, and those whose joining is held.

    Without those who are deleted: they are listed nowhere, and come back as members.
    """
    group, numbers = target.pk, BitMap()
    for model, column in (
        (DirectoryMembership, "user_id"),
        (GroupNesting, "child_id"),
        (GroupOtherMember, "member_id"),
    ):
        rows: QuerySet[Any] = model._default_manager.filter(
            **{"parent_id" if model is GroupNesting else "group_id": group}
        )
        numbers.update(rows.values_list(column, flat=True))
    held = HeldChange.objects.filter(number=group, closed_at=None).first()
    if held is not None:
        numbers |= unpack(held.users_joined) | unpack(held.groups_joined)
    said = _held_states(target.cloud_idp)
    # Whose return is held is told of all the same.
    told = numbers - BitMap(n for n, state in said.items() if state not in DEPARTED)
    numbers -= in_state(DirectoryUser, State.DELETED, told)
    numbers -= in_state(DirectoryGroup, State.DELETED, told)
    numbers -= BitMap(n for n, state in said.items() if state in DEPARTED)
    found = {}
    for some in chunks(numbers):
        for object_id, kind in DirectoryObject.objects.filter(pk__in=some).values_list(
            "object_id", "kind"
        ):
            found[object_id] = _TYPES[Kind(kind)]
    return found


_TYPES = {
    Kind.USER: USER_TYPE,
    Kind.GROUP: GROUP_TYPE,
    Kind.OTHER: "#microsoft.graph.device",
}


# Planning and applying -----------------------------------------------------------


def _removal(target: DirectoryObject) -> Json:
    """What a round of changes would say of an object that cannot be found.

    Of groups Entra keeps those of Microsoft 365 alone for being restored.
    https://learn.microsoft.com/graph/api/resources/directory
    """
    restorable = (
        target.kind == Kind.USER
        or DirectoryGroup.objects.filter(
            pk=target.pk,
            kind__in=[DirectoryGroup.Kind.MICROSOFT_365, DirectoryGroup.Kind.UNKNOWN],
        ).exists()
    )
    if restorable:
        return _deleted(target.object_id)
    return {"id": target.object_id, "@removed": {"reason": Removed.DELETED.value}}


def _deleted(object_id: str) -> Json:
    return {"id": object_id, "@removed": {"reason": Removed.CHANGED.value}}


def _apply(
    run: SyncRun,
    lease: Lease,
    target: DirectoryObject,
    answer: Answer,
    steps: Steps,
    *,
    clock: Clock,
    decide: Decide,
) -> None:
    if answer.gone:
        items = answer.users if target.kind == Kind.USER else answer.groups
        items.append(_removal(target))
    lease.renew(state=SyncRun.State.APPLYING)
    for attempt in range(ATTEMPTS):
        # Never with rows that were read before the last one applied.
        cloud_idp = CloudIdentityProvider.objects.select_related("mappings").get(
            pk=run.cloud_idp_id
        )
        selection = selection_of(cloud_idp)
        if selection.signature != run.selection:
            raise PlanOutdated
        try:
            _apply_once(run, lease, cloud_idp, selection, answer, steps, clock, decide)
        except PlanOutdated:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _apply_once(
    run: SyncRun,
    lease: Lease,
    cloud_idp: CloudIdentityProvider,
    selection: Selection,
    answer: Answer,
    steps: Steps,
    clock: Clock,
    decide: Decide,
) -> None:
    now = clock()
    with steps.step("Compare with what is in effect") as say:
        round_, register, unread = _round(run, cloud_idp, selection, answer, now)
        if unread:
            say(
                f"{unread:,} of the members have not been read yet; the next read "
                "brings them."
            )

        def guarded(plan: Plan) -> Held:
            with steps.step("Ask the guards") as say:
                held = decide(plan)
                count = len(held.people) + len(held.groups) + len(held.members)
                say(f"{count:,} held." if count else "Nothing is held.")
            return held

        plan = make_plan(
            cloud_idp=cloud_idp,
            round_=round_,
            register=register,
            selection=selection,
            now=now,
            decide=guarded,
            began_at=run.started_at,
            asked=run.object_number,
            ask=partial(returned.ask, observer=steps),
        )
        if answer.partial and not plan.full_read_reason:
            plan.full_read_reason = REASON
        differing = any(plan.counts.values())
        say("It differs." if differing else "Nothing differs.")
    with steps.step("Work out what follows") as say:
        derived, consequences = after_guards(plan)
        prepared = prepare(plan, consequences)
        many = f"{len(consequences):,} consequences."
        say(("Nothing else.", "1 consequence.", many)[min(len(consequences), 2)])
    with steps.step("Apply") as say:
        try:
            written = apply_plan(
                plan,
                derived,
                lease=lease,
                delta_links=None,
                selection=selection.signature,
                clock=clock,
                columns={},
                prepared=prepared,
            )
        except PlanOutdated:
            say("Something else was applied meanwhile; it is compared again.")
            raise
        say("Applied, in one transaction." if differing else "There was nothing to do.")
    # The run has ended with its transaction: its steps are completed here.
    SyncRun.objects.filter(pk=run.pk).update(
        steps=steps.done, write_lock_seconds=written.seconds
    )


def _round(
    run: SyncRun,
    cloud_idp: CloudIdentityProvider,
    selection: Selection,
    answer: Answer,
    now: datetime,
) -> tuple[Round, Register, int]:
    """The answer as a round of changes, without members that have no number yet: a
    read that goes on at the same time may be about to give them theirs."""
    entries = [e for item in answer.groups for e in item.get("members@delta", ())]
    known = {
        object_id
        for some in chunks({entry["id"] for entry in entries})
        for object_id in DirectoryObject.objects.filter(
            cloud_idp=cloud_idp, object_id__in=some
        ).values_list("object_id", flat=True)
    }
    groups = []
    for item in answer.groups:
        members = [e for e in item.get("members@delta", ()) if e["id"] in known]
        rest = {k: v for k, v in item.items() if k != "members@delta"}
        groups.append(rest | ({"members@delta": members} if members else {}))
    register = Register(cloud_idp, whole=False)
    reducer = Reducer(selection, register, whole=False)
    pages = Pages(run)
    for resource, reduced in (
        (Resource.GROUPS, reducer.groups(groups)),
        (Resource.USERS, reducer.users([dict(item) for item in answer.users])),
    ):
        pages.unstored.append(
            staged(run, resource, 1, reduced, next_link="", delta_link="", now=now)
        )
    round_ = Round(full=False, pages=pages)
    round_.merge()
    return round_, register, sum(entry["id"] not in known for entry in entries)


_READ_ALONE = Compiled(
    lambda cloud_idp, since: (
        SyncRun.objects.filter(
            cloud_idp=cloud_idp,
            kind=SyncRun.Kind.OBJECT,
            state=SyncRun.State.SUCCEEDED,
            finished_at__gte=since,
        )
        .order_by()
        .values_list("object_number")
    )
)


def fresh(run: SyncRun) -> BitMap:
    """People and groups that were read one by one, and applied, since a run began.

    What the run read of them may be older.
    """
    read = answers_to(asked_fresh(run))
    return BitMap(number for (number,) in read if number is not None)


def asked_fresh(run: SyncRun) -> Question:
    return _READ_ALONE.with_(run.cloud_idp_id, run.started_at or run.created_at)


def look_again(run: SyncRun, numbers: BitMap, *, now: datetime) -> None:
    """Ask once more for those whom a read left alone: they may have changed after they
    were read, and before the read met them."""
    if not numbers:
        return
    for model in (DirectoryUser, DirectoryGroup):
        for target in model._default_manager.filter(pk__in=list(numbers)):
            request_object(
                target=target, trigger=SyncRun.Trigger.SCHEDULE, actor=None, now=now
            )
