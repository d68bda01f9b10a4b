"""The Test tab: one person, group or membership at a time, in named steps.

Each step says what it asked of Microsoft, how long that took and what it came to. After
one that fails the next are not tried, but for the last: what the console holds can be
said whatever Microsoft answers. Reads only; nothing of an answer is kept.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from django.db.models import Q
from django.utils import timezone

from directory import clouds, lookup, permission_use, tls, tokens
from directory.attributes import LABELS
from directory.entra import EntraSession, GraphClient, Group, User, errors
from directory.entra.objects import MemberType
from directory.entra.transport import Exchange
from directory.lookup import Ambiguous, Attribute, Found
from directory.memberships import groups_of, membership_path
from directory.models import (
    AttributeMappings,
    CloudIdentityProvider,
    DirectoryGroup,
    DirectoryMembership,
    DirectoryUser,
)
from directory.permissions import Feature
from directory.sync.attributes import (
    NEW_GROUP,
    USER_ATTRIBUTES,
    USER_VALUES,
    GroupRow,
    group_row,
    mapped_properties,
    name_key,
    values_reader,
)
from directory.sync.selection import selection_of
from directory.sync.stored import rows_of
from jamfidp.history.record import record

GROUPS_SHOWN = 50
CANDIDATES = lookup.CANDIDATES
_VALUES = {
    "account_enabled": "Account enabled",
    "user_type": "User type",
    "display_name": "Display name",
    "user_principal_name": "User principal name",
}
_GROUP_VALUES = {
    "display_name": "Group name",
    "description": "Description",
    "mail": "Mail address",
    "kind": "Kind",
    "is_dynamic": "Dynamic",
    "membership_rule": "Membership rule",
    "is_assignable_to_role": "Can hold roles",
    "hidden_membership": "Hidden membership",
}

State = Literal["passed", "differs", "failed", "unknown", "not tried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to Microsoft, without anything secret."""

    method: str
    address: str
    status: int | None
    seconds: float
    request_id: str

    @property
    def milliseconds(self) -> int:
        return round(self.seconds * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A group that holds the person, by the groups in between."""

    group: str
    url: str = ""
    path: Sequence[str] = ()
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Step:
    """One step: what was asked, what came of it, and what to do where it failed."""

    name: str
    question: str
    state: State = "not tried"
    sentence: str = ""
    advice: str = ""
    reference: str = ""
    seconds: float | None = None
    asked: list[Asked] = field(default_factory=list)
    attributes: Sequence[Attribute] = ()
    several: Sequence[Found] = ()
    ways: Sequence[Way] = ()
    # (what, in the console, in Entra)
    differences: Sequence[tuple[str, str, str]] = ()

    @property
    def milliseconds(self) -> int:
        return round((self.seconds or 0) * 1000)

    @property
    def asked_summary(self) -> str:
        count = len(self.asked)
        return f"{count} {'request' if count == 1 else 'requests'} to Microsoft"

    @property
    def failed(self) -> bool:
        return self.state == "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    steps: Sequence[Step]
    # Whom or what it was about, once that is known.
    object_id: str = ""
    name: str = ""
    url: str = ""

    @property
    def stopped_at(self) -> Step | None:
        return next((step for step in self.steps if step.failed), None)


class _Stop(Exception):
    """A step failed; its fields say why."""


class _Test:
    """The steps of one test; those that were not come to stay 'not tried'."""

    def __init__(
        self, cloud_idp: CloudIdentityProvider, steps: Sequence[tuple[str, str]]
    ) -> None:
        self.cloud_idp = cloud_idp
        self.mappings = cloud_idp.mappings
        self.steps = [Step(name=name, question=question) for name, question in steps]
        self._at: Step = self.steps[0]
        self._until = time.monotonic() + cloud_idp.search_timeout
        self.session: EntraSession | None = None
        self.graph: GraphClient | None = None

    # --- As an observer of the session

    def exchanged(self, exchange: Exchange) -> None:
        self._at.asked.append(
            Asked(
                method=exchange.method,
                address=exchange.address,
                status=exchange.status,
                seconds=exchange.seconds,
                request_id=exchange.request_id,
            )
        )

    def waiting(self, seconds: float, reason: str) -> None:
        """The wait is part of the step's duration."""

    @property
    def seconds_left(self) -> float:
        return self._until - time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Take a step; what Microsoft refuses fails it. Raises _Stop then."""
        step = next(each for each in self.steps if each.name == name)
        self._at = step
        if self.session is not None:
            # Somebody waits: all steps together have the connection's search timeout.
            self.session.total_seconds = max(1.0, self.seconds_left)
        started = time.monotonic()
        try:
            yield step
            if step.state == "not tried":
                step.state = "passed"
        except Ambiguous as ambiguous:
            step.state = "failed"
            step.sentence = (
                "Several have this name, so it does not say which one is meant."
            )
            step.advice = "Enter the object ID of the one you mean."
            step.several = ambiguous.found
        except errors.EntraError as error:
            if isinstance(error, errors.PermissionMissing):
                tokens.forget(self.cloud_idp)
            step.state = "failed"
            step.sentence, step.advice = error.message, error.advice
            step.reference = error.reference
        finally:
            step.seconds = time.monotonic() - started
        if step.failed:
            raise _Stop

    def connect(self) -> GraphClient:
        with self.step("Connect") as step:
            if not self.cloud_idp.enabled:
                step.state = "failed"
                step.sentence = (
                    "The connection is disabled, so Microsoft was not asked."
                )
                step.advice = "Enable the connection, then test again."
                raise _Stop
            session = EntraSession(
                clouds.cloud(self.cloud_idp.cloud),
                observer=self,
                tls_observer=tls.noting(self.cloud_idp),
                total_seconds=max(1.0, self.seconds_left),
            )
            self.session = session
            # A token that is new: one of before says nothing of the credential.
            source = tokens.for_connection(self.cloud_idp, session=session, insist=True)
            source.token(fresh=True)
            graph = self.graph = GraphClient(
                cloud=session.cloud, tokens=source, session=session, priority="high"
            )
            organization = graph.organization()
            if organization.id != self.cloud_idp.tenant_id:
                step.state = "failed"
                step.sentence = "Microsoft Graph answered for another tenant."
                step.advice = "Report this as a defect."
                raise _Stop
            name = organization.display_name or organization.id
            step.sentence = f"Microsoft gave a new token, and the tenant is {name}."
            return graph

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
        if self.graph is not None:
            permission_use.note(
                self.cloud_idp, Feature.LOOK_UP, self.graph.used, now=timezone.now()
            )


def fail(step: Step, sentence: str, advice: str) -> None:
    step.state, step.sentence, step.advice = "failed", sentence, advice


# --- A person ------------------------------------------------------------------------

USER_STEPS = (
    ("Connect", "Does Microsoft let the console in?"),
    ("Find", "Is there such a user in the tenant?"),
    ("Match", "Does a device that reports this user name lead to this user?"),
    ("Map", "What do the attribute mappings make of the user?"),
    ("Membership", "Which groups hold the user, and by which way?"),
    ("Console", "What does the console hold, and how does it differ?"),
)


def of_user(cloud_idp: CloudIdentityProvider, *, text: str) -> Result:
    test = _Test(cloud_idp, USER_STEPS)
    user: User | None = None
    live: dict[str, Any] | None = None
    try:
        graph = test.connect()
        with test.step("Find") as step:
            user = _find_user(test, graph, text, step)
        row = _user_row(cloud_idp, user.id)
        with test.step("Match") as step:
            _match(test, graph, user, row, step)
        with test.step("Map") as step:
            live = _map(test, user, step)
        with test.step("Membership") as step:
            _groups_of(graph, user, row, step)
    except _Stop:
        pass
    finally:
        test.close()
    row = _user_row(cloud_idp, user.id) if user else _known_user(cloud_idp, text)
    with test.step("Console") as step:
        _compare_user(cloud_idp, row, live, step)
    return Result(
        steps=test.steps,
        object_id=user.id if user else "",
        name=(user.display_name or user.user_principal_name or user.id) if user else "",
        url=row.get_absolute_url() if row else "",
    )


def _find_user(test: _Test, graph: GraphClient, text: str, step: Step) -> User:
    user, by = lookup.one_user(graph, test.mappings, text)
    if user is None:
        fail(
            step,
            f"There is no user '{text}' in the tenant.",
            "Check the user name. It has to be complete; the mapping of Username says "
            "which property is compared.",
        )
        raise _Stop
    step.sentence = (
        f"{user.display_name or user.user_principal_name or user.id} was found by {by}."
    )
    return user


def _match(
    test: _Test,
    graph: GraphClient,
    user: User,
    row: DirectoryUser | None,
    step: Step,
) -> None:
    name = _text(user.value(test.mappings.user_name))
    if not name_key(name):
        fail_softly(
            step,
            "differs",
            f"The user has no {test.mappings.user_name}, which is mapped to Username: "
            "no device leads to this user by it.",
            "Map Username to a property that everybody has.",
        )
        return
    others = [
        each
        for each in graph.find_users(
            test.mappings.user_name, name, properties=[], limit=CANDIDATES
        )
        if each.id != user.id
    ]
    domain = name.rpartition("@")[2].casefold() if "@" in name else ""
    domains = test.cloud_idp.match_domains
    if others:
        fail_softly(
            step,
            "differs",
            f"{len(others) + 1} users have the user name '{name}': a device that "
            "reports it leads to nobody, which is unknown.",
            "Map Username to a property that is different for everybody.",
        )
        step.several = [
            lookup.shown_user(each, test.mappings) for each in (user, *others)
        ]
    elif domain and domains and domain not in domains:
        fail_softly(
            step,
            "differs",
            f"'{name}' has a domain that this connection does not match.",
            "Add the domain under Edit, if devices report it.",
        )
    elif not domain and not test.cloud_idp.match_names_without_domain:
        fail_softly(
            step,
            "differs",
            f"'{name}' has no domain, and this connection does not match such names.",
            "Switch that on under Edit, if devices report them.",
        )
    elif row is None:
        fail_softly(
            step,
            "unknown",
            f"Only this user has the user name '{name}'. The console has not read the "
            "user yet, so no device leads there before the next sync.",
            "",
        )
    elif row.user_name_key != name_key(name):
        fail_softly(
            step,
            "differs",
            f"Only this user has the user name '{name}'. The console still has "
            f"'{row.user_name}' until the next sync.",
            "",
        )
    else:
        step.sentence = (
            f"Only this user has the user name '{name}', bound by tenant ID and object "
            "ID. A device that led to somebody else before waits for a confirmation."
        )


def fail_softly(step: Step, state: State, sentence: str, advice: str) -> None:
    """Say what is not as it should be; the steps after it go on."""
    step.state, step.sentence, step.advice = state, sentence, advice


def _map(test: _Test, user: User, step: Step) -> dict[str, Any]:
    shown = lookup.shown_user(user, test.mappings)
    step.attributes = shown.attributes
    missing = [each.label for each in shown.attributes if each.missing]
    if missing:
        fail_softly(
            step,
            "differs",
            f"Microsoft's answer lacks {', '.join(missing)}.",
            "See on the Permissions tab what the console may read.",
        )
    else:
        step.sentence = "Each attribute, by the property that is mapped to it."
    read = values_reader(mapped_properties(test.mappings))
    return dict(zip(USER_VALUES, read(user.properties), strict=True))


def _groups_of(
    graph: GraphClient, user: User, row: DirectoryUser | None, step: Step
) -> None:
    live = graph.get_member_groups(user.id)
    held = {each.group.object_id: each for each in groups_of(row)} if row else {}
    known = {
        group.object_id: group
        for group in DirectoryGroup.objects.filter(
            cloud_idp__tenant_id=row.cloud_idp.tenant_id if row else "",
            object_id__in=list(live),
        )
    }
    ways = []
    for object_id in sorted(live, key=lambda one: str(known.get(one, one)).casefold()):
        each = held.get(object_id)
        group = known.get(object_id)
        ways.append(
            Way(
                group=str(group) if group else object_id,
                url=group.get_absolute_url() if group else "",
                path=[str(one) for one in each.path] if each else (),
                note="" if each else "in Entra, and not yet here",
            )
        )
    # A group that hides its members is never in Microsoft's answer.
    gone = [
        each
        for object_id, each in held.items()
        if object_id not in live and not each.group.hidden_membership
    ]
    ways += [
        Way(
            group=str(each.group),
            url=each.group.get_absolute_url(),
            path=[str(one) for one in each.path],
            note="here, and in Entra no more",
        )
        for each in gone
    ]
    differ = [way for way in ways if way.note]
    step.ways = [*differ, *(way for way in ways if not way.note)][:GROUPS_SHOWN]
    more = f" {GROUPS_SHOWN} of them are listed." if len(ways) > GROUPS_SHOWN else ""
    noun = "group holds" if len(live) == 1 else "groups hold"
    step.sentence = (
        f"{len(live):,} {noun} the user in Entra, nested ones included.{more}"
    )
    if differ:
        step.state = "differs"
        step.sentence += (
            f" {len(differ):,} of what the console holds "
            f"{'differs' if len(differ) == 1 else 'differ'}; the next sync brings it."
        )


def _compare_user(
    cloud_idp: CloudIdentityProvider,
    row: DirectoryUser | None,
    live: Mapping[str, Any] | None,
    step: Step,
) -> None:
    if row is None:
        _not_here(cloud_idp, step, asked=live is not None)
        return
    labels = _VALUES | {name: LABELS[name] for name in USER_ATTRIBUTES}
    held = {name: getattr(row, name) for name in USER_VALUES}
    _compare(cloud_idp, row, labels, held, live, step)


def _not_here(cloud_idp: CloudIdentityProvider, step: Step, *, asked: bool) -> None:
    if not cloud_idp.completely_read:
        fail_softly(
            step,
            "unknown",
            "The directory has not been read completely yet: whether it will be here "
            "is not known.",
            "Look at the Sync tab.",
        )
    elif asked:
        fail_softly(
            step,
            "differs",
            "The console does not have it yet.",
            "The next sync brings it. If it stays away, ask for a full read on the Sync "
            "tab.",
        )
    else:
        fail_softly(
            step,
            "unknown",
            "Which one was meant is not known: the console does not hold exactly one "
            "of this name.",
            "",
        )


def _compare(
    cloud_idp: CloudIdentityProvider,
    row: DirectoryUser | DirectoryGroup,
    labels: Mapping[str, str],
    held: Mapping[str, Any],
    live: Mapping[str, Any] | None,
    step: Step,
) -> None:
    state = row.get_state_display().lower()
    if live is None:
        step.attributes = [
            Attribute(label=labels[name], graph_property="", value=_text(held[name]))
            for name in labels
        ]
        fail_softly(
            step,
            "unknown",
            f"Not compared, since Microsoft did not answer. This is what the console "
            f"holds; it has the object as: {state}.",
            "",
        )
        return
    differences = [
        (labels[name], _text(held[name]), _text(live[name]))
        for name in labels
        if held[name] != live[name]
    ]
    if row.state != row.State.PRESENT:
        differences.insert(0, ("State", state, "in the directory"))
    step.differences = differences
    stale = cloud_idp.delta_selection != selection_of(cloud_idp).signature
    if not differences:
        step.sentence = "The console holds what Microsoft says."
        return
    count = len(differences)
    fail_softly(
        step,
        "differs",
        f"{count} {'value differs' if count == 1 else 'values differ'}."
        + (
            " The mappings were changed since the last read."
            if stale
            else " It changed in Entra after the last read, or it is held."
        ),
        "The next sync brings it; what is held waits under Held changes.",
    )


# --- A group -------------------------------------------------------------------------

GROUP_STEPS = (
    ("Connect", "Does Microsoft let the console in?"),
    ("Find", "Is there such a group in the tenant?"),
    ("Match", "Which group of the console is it?"),
    ("Map", "What do the attribute mappings make of the group?"),
    ("Membership", "Who is in it, directly?"),
    ("Console", "What does the console hold, and how does it differ?"),
)


def of_group(cloud_idp: CloudIdentityProvider, *, text: str) -> Result:
    test = _Test(cloud_idp, GROUP_STEPS)
    group: Group | None = None
    live: dict[str, Any] | None = None
    try:
        graph = test.connect()
        with test.step("Find") as step:
            group = _find_group(test, graph, text, step)
        row = _group_row(cloud_idp, group.id)
        with test.step("Match") as step:
            _match_group(cloud_idp, group, row, step)
        with test.step("Map") as step:
            step.attributes = lookup.shown_group(group, test.mappings).attributes
            step.sentence = "Each attribute, by the property that is mapped to it."
            live = _live_group(test.mappings, group, row)
        with test.step("Membership") as step:
            _members_of(test, graph, group, row, step)
    except _Stop:
        pass
    finally:
        test.close()
    row = _group_row(cloud_idp, group.id) if group else _known_group(cloud_idp, text)
    with test.step("Console") as step:
        if row is None:
            _not_here(cloud_idp, step, asked=live is not None)
        else:
            held = {name: getattr(row, name) for name in _GROUP_VALUES}
            _compare(cloud_idp, row, _GROUP_VALUES, held, live, step)
    return Result(
        steps=test.steps,
        object_id=group.id if group else "",
        name=(group.display_name or group.id) if group else "",
        url=row.get_absolute_url() if row else "",
    )


def _find_group(test: _Test, graph: GraphClient, text: str, step: Step) -> Group:
    group, by = lookup.one_group(graph, test.mappings, text)
    if group is None:
        fail(
            step,
            f"There is no group '{text}' in the tenant.",
            "Check the name. It has to be complete.",
        )
        raise _Stop
    step.sentence = f"{group.display_name or group.id} was found by {by}."
    return group


def _match_group(
    cloud_idp: CloudIdentityProvider,
    group: Group,
    row: DirectoryGroup | None,
    step: Step,
) -> None:
    twins = (
        DirectoryGroup.objects.present()
        .filter(display_name=group.display_name or "")
        .exclude(cloud_idp=cloud_idp, object_id=group.id)
        .count()
    )
    if row is None:
        fail_softly(step, "unknown", "The console has not read this group yet.", "")
        return
    step.sentence = (
        "Bound by tenant ID and object ID; scopes and privileges that name this group "
        "mean it, whatever it is called."
    )
    if twins:
        noun = "group has" if twins == 1 else "groups have"
        step.sentence += f" {twins:,} other {noun} the same name."


def _live_group(
    mappings: AttributeMappings, group: Group, row: DirectoryGroup | None
) -> dict[str, Any]:
    """What the next sync would make of the group: what Graph does not say stays."""
    before = NEW_GROUP
    if row is not None:
        before = rows_of(DirectoryGroup, GroupRow, [row.pk])[row.pk]
    after = group_row(
        before, group.properties, mappings.group_name.strip(), now=timezone.now()
    )
    return {name: getattr(after, name) for name in _GROUP_VALUES}


def _members_of(
    test: _Test,
    graph: GraphClient,
    group: Group,
    row: DirectoryGroup | None,
    step: Step,
) -> None:
    users, groups, others = 0, [], 0
    whole = True
    for page in graph.members(group.id):
        for member in page.members:
            if member.type is MemberType.USER:
                users += 1
            elif member.type is MemberType.GROUP:
                groups.append(member.display_name or member.id)
            else:
                others += 1
        if page.next_link and test.seconds_left <= 0:
            whole = False
            break
    counted = f"{users:,} {'user' if users == 1 else 'users'}, {len(groups):,} "
    counted += f"{'group' if len(groups) == 1 else 'groups'}, {others:,} others"
    step.ways = [Way(group=name, note="nested in it") for name in groups[:GROUPS_SHOWN]]
    if group.has_hidden_membership:
        fail_softly(
            step,
            "unknown",
            "The group hides its members: who is in it is not known.",
            "The console does not ask for Member.Read.Hidden.",
        )
    elif not whole:
        fail_softly(
            step,
            "unknown",
            f"Not all could be counted within {test.cloud_idp.search_timeout} seconds: "
            f"at least {counted}.",
            "Raise the search timeout under Edit to count them all.",
        )
    else:
        step.sentence = f"Direct members in Entra: {counted}."
        if row is not None:
            held = DirectoryMembership.objects.filter(group=row).count()
            step.sentence += f" The console holds {held:,} users."
            if held != users:
                step.state = "differs"
                step.advice = "The next sync brings the difference, unless it is held."


# --- A membership ----------------------------------------------------------------------

MEMBERSHIP_STEPS = (
    ("Connect", "Does Microsoft let the console in?"),
    ("Find the user", "Is there such a user in the tenant?"),
    ("Find the group", "Is there such a group in the tenant?"),
    ("Membership", "Does the group hold the user, and by which way?"),
    ("Console", "What does the console hold, and how does it differ?"),
)


def of_membership(
    cloud_idp: CloudIdentityProvider, *, user_text: str, group_text: str
) -> Result:
    test = _Test(cloud_idp, MEMBERSHIP_STEPS)
    user: User | None = None
    group: Group | None = None
    live: bool | None = None
    try:
        graph = test.connect()
        with test.step("Find the user") as step:
            user = _find_user(test, graph, user_text, step)
        with test.step("Find the group") as step:
            group = _find_group(test, graph, group_text, step)
        with test.step("Membership") as step:
            live = _membership(test, graph, user, group, step)
    except _Stop:
        pass
    finally:
        test.close()
    person = (
        _user_row(cloud_idp, user.id) if user else _known_user(cloud_idp, user_text)
    )
    row = (
        _group_row(cloud_idp, group.id)
        if group
        else _known_group(cloud_idp, group_text)
    )
    with test.step("Console") as step:
        _compare_membership(cloud_idp, person, row, live, step)
    return Result(
        steps=test.steps,
        object_id=user.id if user else "",
        name=(user.display_name or user.user_principal_name or user.id) if user else "",
        url=person.get_absolute_url() if person else "",
    )


def _membership(
    test: _Test, graph: GraphClient, user: User, group: Group, step: Step
) -> bool | None:
    """Say whether the group holds the user; None where that is not known."""
    who = user.display_name or user.user_principal_name or user.id
    what = group.display_name or group.id
    holding = graph.get_member_groups(user.id)
    if group.id not in holding:
        if group.has_hidden_membership:
            fail_softly(
                step,
                "unknown",
                "Whether this person is a member is not known: the group hides its "
                "members.",
                "The console does not ask for Member.Read.Hidden.",
            )
            return None
        step.sentence = (
            f"{who} is not a member of {what}, directly or through other groups."
        )
        return False
    path = _live_path(test, graph, user, group, holding)
    if path is None:
        fail_softly(
            step,
            "unknown",
            f"{who} is a member of {what}; the way could not be followed within "
            f"{test.cloud_idp.search_timeout} seconds.",
            "Raise the search timeout under Edit to follow it.",
        )
        return True
    step.ways = [Way(group=what, path=path)]
    if len(path) == 1:
        step.sentence = f"{who} is a direct member of {what}."
        return True
    step.sentence = f"{who} is a member of {what} through other groups."
    if not test.cloud_idp.transitive_directory_membership_enabled:
        step.advice = (
            "Transitive groups are switched off for this connection, so scopes do not "
            "count it."
        )
    return True


def _live_path(
    test: _Test,
    graph: GraphClient,
    user: User,
    group: Group,
    holding: Iterable[str],
) -> list[str] | None:
    """Return the shortest way in, nearest the person first; None when time ran out.

    Downwards from the group, and only into groups that hold the person.
    """
    among = set(holding)
    names = {group.id: group.display_name or group.id}
    waiting = deque([(group.id, [group.id])])
    while waiting:
        at, way = waiting.popleft()
        below = []
        for page in graph.members(at):
            for member in page.members:
                if member.id == user.id:
                    return [names[one] for one in way]
                if member.id in among and member.id not in names:
                    names[member.id] = member.display_name or member.id
                    below.append(member.id)
            if test.seconds_left <= 0:
                return None
        waiting.extend((child, [child, *way]) for child in below)
    return None


def _compare_membership(
    cloud_idp: CloudIdentityProvider,
    person: DirectoryUser | None,
    group: DirectoryGroup | None,
    live: bool | None,
    step: Step,
) -> None:
    if person is None or group is None:
        what = "user" if person is None else "group"
        fail_softly(step, "unknown", f"The console does not have this {what}.", "")
        return
    path = membership_path(person, group)
    if path:
        step.ways = [
            Way(
                group=str(group),
                url=group.get_absolute_url(),
                path=[str(one) for one in path],
            )
        ]
        step.sentence = f"In the console {person} is a member of {group}."
    elif group.hidden_membership:
        fail_softly(
            step, "unknown", f"The console does not know who is in {group}.", ""
        )
        return
    else:
        step.sentence = f"In the console {person} is not a member of {group}."
    if live is None:
        step.state = "unknown"
        step.sentence += " It was not compared."
    elif live != bool(path):
        step.state = "differs"
        step.advice = "The next sync brings the difference, unless it is held."


# --- The console's own rows ------------------------------------------------------------


def _user_row(cloud_idp: CloudIdentityProvider, object_id: str) -> DirectoryUser | None:
    return (
        DirectoryUser.objects.select_related("cloud_idp")
        .filter(cloud_idp=cloud_idp, object_id=object_id)
        .first()
    )


def _group_row(
    cloud_idp: CloudIdentityProvider, object_id: str
) -> DirectoryGroup | None:
    return DirectoryGroup.objects.filter(
        cloud_idp=cloud_idp, object_id=object_id
    ).first()


def _known_user(cloud_idp: CloudIdentityProvider, text: str) -> DirectoryUser | None:
    """The one user whom the console has under this name; None of several."""
    text = text.strip()
    found = list(
        DirectoryUser.objects.filter(cloud_idp=cloud_idp).filter(
            (Q(user_name_key=name_key(text)) & ~Q(user_name_key=""))
            | Q(user_principal_name__iexact=text)
            | Q(object_id=text.lower())
        )[:2]
    )
    return found[0] if len(found) == 1 else None


def _known_group(cloud_idp: CloudIdentityProvider, text: str) -> DirectoryGroup | None:
    text = text.strip()
    found = list(
        DirectoryGroup.objects.filter(cloud_idp=cloud_idp).filter(
            Q(display_name=text) | Q(object_id=text.lower())
        )[:2]
    )
    return found[0] if len(found) == 1 else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    return str(value)


# --- History ---------------------------------------------------------------------------


def remember(
    cloud_idp: CloudIdentityProvider,
    kind: str,
    result: Result,
    *,
    actor: Any,
    now: datetime,
) -> None:
    """Write into the history that it was tested, about whom by object ID alone."""
    stopped = result.stopped_at
    came_to = f"it stopped at '{stopped.name}'" if stopped else "every step was taken"
    record(
        obj=cloud_idp,
        actor=actor,
        action="tested",
        note=f"Tested a {kind}: {came_to}",
        details={
            "object_id": ["", result.object_id],
            "steps": {step.name: step.state for step in result.steps},
            "reference": ["", stopped.reference if stopped else ""],
        },
        now=now,
    )


Run = Callable[[CloudIdentityProvider, Mapping[str, str]], Result]
TESTS: Mapping[str, Run] = {
    "user": lambda idp, entered: of_user(idp, text=entered["user"]),
    "group": lambda idp, entered: of_group(idp, text=entered["group"]),
    "membership": lambda idp, entered: of_membership(
        idp, user_text=entered["user"], group_text=entered["group"]
    ),
}
