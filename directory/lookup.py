"""Live look-ups for the Test tab: a user, a group, a membership.

Every answer is one of three: found, not there, or not known. What Microsoft could
not be asked is never shown as absent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Q

from directory import clouds, tokens
from directory.attributes import GROUP_FIELDS, LABELS, USER_FIELDS
from directory.entra import (
    EntraSession,
    GraphClient,
    Group,
    TransferStats,
    User,
    errors,
    is_guid,
)
from directory.mapping_effect import stored_in
from directory.models import AttributeMappings, CloudIdentityProvider, DirectoryUser
from directory.sync.attributes import (
    USER_ATTRIBUTES,
    USER_VALUES,
    mapped_properties,
    name_key,
    values_reader,
)
from directory.sync.selection import selection_of

# More than one is ambiguous; a few tell which ones.
CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A Jamf Pro attribute, the Graph property that fills it, and its value."""

    label: str
    graph_property: str
    value: str
    # The property is mapped but did not come with the answer.
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A person or a group, with its attributes as the mappings give them."""

    name: str
    object_id: str
    detail: str
    attributes: Sequence[Attribute]


@dataclass(frozen=True, slots=True, kw_only=True)
class Becoming:
    """An attribute under other mappings: None where a value is not known."""

    label: str
    graph_property: str
    stored: str | None
    becomes: str | None

    @property
    def changes(self) -> bool:
        return None not in (self.stored, self.becomes) and self.stored != self.becomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What other mappings would make of one person.

    `live` says whether the values come from Microsoft now or from the last read; then
    `why` says why Microsoft did not answer.
    """

    name: str = ""
    object_id: str = ""
    live: bool = False
    why: str = ""
    advice: str = ""
    request_id: str = ""
    read_at: datetime | None = None
    attributes: Sequence[Becoming] = ()
    several: Sequence[Found] = ()

    @property
    def incomplete(self) -> bool:
        return any(each.becomes is None for each in self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a look-up came to.

    `verdict` is in (found, a member), out (not there, no member) or unknown; then
    `sentence` says why. `several` names the candidates where a name is not unique.
    """

    verdict: str
    sentence: str
    advice: str = ""
    reference: str = ""
    found: Sequence[Found] = ()
    several: Sequence[Found] = ()
    request_id: str = ""
    seconds_allowed: int = 0


class _Ambiguous(Exception):
    def __init__(self, found: Sequence[Found]) -> None:
        super().__init__("several objects have this name")
        self.found = found


Answer = Callable[[GraphClient, AttributeMappings], Outcome]
T = TypeVar("T")


def find_user(cloud_idp: CloudIdentityProvider, *, text: str) -> Outcome:
    """Look a person up by mapped user name, user principal name or object ID."""

    def answer(graph: GraphClient, mappings: AttributeMappings) -> Outcome:
        user = _user(graph, mappings, text)
        if user is None:
            return _nobody(text)
        return Outcome(
            verdict="in",
            sentence="The user was found.",
            found=[_shown_user(user, mappings)],
        )

    return _asked(cloud_idp, answer)


def find_group(cloud_idp: CloudIdentityProvider, *, text: str) -> Outcome:
    """Look a group up by name or object ID."""

    def answer(graph: GraphClient, mappings: AttributeMappings) -> Outcome:
        group = _group(graph, mappings, text)
        if group is None:
            return _no_group(text)
        return Outcome(
            verdict="in",
            sentence="The group was found.",
            found=[_shown_group(group, mappings)],
        )

    return _asked(cloud_idp, answer)


def find_membership(
    cloud_idp: CloudIdentityProvider, *, user_text: str, group_text: str
) -> Outcome:
    """Say whether a person is a member of a group, direct or through others.

    With transitive look-ups switched off on the connection, direct members count
    alone.
    """
    transitive = cloud_idp.transitive_directory_membership_enabled

    def answer(graph: GraphClient, mappings: AttributeMappings) -> Outcome:
        user = _user(graph, mappings, user_text)
        if user is None:
            return _nobody(user_text)
        group = _group(graph, mappings, group_text)
        if group is None:
            return _no_group(group_text)
        shown = [_shown_user(user, mappings), _shown_group(group, mappings)]
        effective = group.id in graph.check_member_groups(user.id, [group.id])
        if not effective and group.has_hidden_membership:
            return Outcome(
                verdict="unknown",
                sentence="Whether this person is a member is not known: the group "
                "hides its members.",
                advice="The console does not ask for Member.Read.Hidden.",
                found=shown,
            )
        if not effective:
            return Outcome(
                verdict="out",
                sentence=f"{shown[0].name} is not a member of {shown[1].name}, directly "
                "or through other groups.",
                found=shown,
            )
        direct = any(
            member.id == user.id
            for page in graph.members(group.id)
            for member in page.members
        )
        if direct:
            sentence = f"{shown[0].name} is a direct member of {shown[1].name}."
        elif transitive:
            sentence = (
                f"{shown[0].name} is a member of {shown[1].name} through other groups."
            )
        else:
            return Outcome(
                verdict="out",
                sentence=f"{shown[0].name} is a member of {shown[1].name} through other "
                "groups only, and transitive groups are switched off for this "
                "connection.",
                advice="Switch on 'Transitive groups for directory workflows' to count "
                "them.",
                found=shown,
            )
        return Outcome(verdict="in", sentence=sentence, found=shown)

    return _asked(cloud_idp, answer)


def preview_person(
    cloud_idp: CloudIdentityProvider, *, text: str, proposed: AttributeMappings
) -> Preview:
    """Show what other mappings make of a person, live; else by what is stored."""
    mapped = mapped_properties(proposed)
    values = values_reader(mapped)
    made: list[tuple[User, dict[str, Any]]] = []

    def answer(graph: GraphClient, mappings: AttributeMappings) -> Outcome:
        user = _user(graph, mappings, text, more=tuple(mapped.values()))
        if user is None:
            return _nobody(text)
        made.append(
            (user, dict(zip(USER_VALUES, values(user.properties), strict=True)))
        )
        return Outcome(verdict="in", sentence="")

    outcome = _asked(cloud_idp, answer)
    if outcome.several:
        return Preview(why=outcome.sentence, several=outcome.several)
    if made:
        ((user, becomes),) = made
        row = DirectoryUser.objects.filter(
            cloud_idp=cloud_idp, object_id=user.id
        ).first()
        return Preview(
            name=user.display_name or user.user_principal_name or user.id,
            object_id=user.id,
            live=True,
            request_id=outcome.request_id,
            attributes=[
                Becoming(
                    label=LABELS[name],
                    graph_property=mapped.get(name, ""),
                    stored=getattr(row, name) if row else None,
                    becomes=becomes[name],
                )
                for name in USER_ATTRIBUTES
            ],
        )
    if outcome.verdict == "out":
        return Preview(live=True, why=outcome.sentence, advice=outcome.advice)
    return _stored_preview(cloud_idp, text, mapped, outcome)


def _stored_preview(
    cloud_idp: CloudIdentityProvider,
    text: str,
    mapped: Mapping[str, str],
    outcome: Outcome,
) -> Preview:
    """The same by the rows, where the rows were read by the mappings that stand."""
    people = DirectoryUser.objects.present().filter(cloud_idp=cloud_idp)
    person = people.filter(
        Q(user_name_key=name_key(text))
        | Q(user_principal_name__iexact=text.strip())
        | Q(object_id=text.strip().lower())
    ).first()
    if person is None:
        return Preview(why=outcome.sentence, advice=outcome.advice)
    selection = selection_of(cloud_idp)
    columns = (
        stored_in(selection.mapped)
        if cloud_idp.delta_selection == selection.signature
        else {}
    )

    def becomes(name: str) -> str | None:
        graph_property = mapped.get(name)
        if graph_property is None:
            return ""
        column = columns.get(graph_property)
        return None if column is None else getattr(person, column)

    return Preview(
        name=str(person),
        object_id=person.object_id,
        why=outcome.sentence,
        advice=outcome.advice,
        read_at=cloud_idp.last_good_read_at,
        attributes=[
            Becoming(
                label=LABELS[name],
                graph_property=mapped.get(name, ""),
                stored=getattr(person, name),
                becomes=becomes(name),
            )
            for name in USER_ATTRIBUTES
        ],
    )


def _asked(cloud_idp: CloudIdentityProvider, answer: Answer) -> Outcome:
    """Ask Microsoft within the connection's search timeout."""
    if not cloud_idp.enabled:
        return Outcome(
            verdict="unknown",
            sentence="The connection is disabled, so Microsoft was not asked.",
            advice="Enable it to look people and groups up.",
        )
    stats = TransferStats()
    seconds = cloud_idp.search_timeout
    try:
        session = EntraSession(
            clouds.cloud(cloud_idp.cloud), observer=stats, total_seconds=seconds
        )
        with session:
            graph = tokens.graph_client(cloud_idp, session=session, priority="high")
            outcome = answer(graph, cloud_idp.mappings)
    except _Ambiguous as ambiguous:
        outcome = Outcome(
            verdict="unknown",
            sentence="Several objects have this name, so it does not say which one is "
            "meant.",
            advice="Enter the object ID of the one you mean.",
            several=ambiguous.found,
        )
    except errors.EntraError as error:
        if isinstance(error, errors.PermissionMissing):
            tokens.forget(cloud_idp)
        outcome = Outcome(
            verdict="unknown",
            sentence=error.message,
            advice=error.advice,
            reference=error.reference,
        )
    return Outcome(
        verdict=outcome.verdict,
        sentence=outcome.sentence,
        advice=outcome.advice,
        reference=outcome.reference,
        found=outcome.found,
        several=outcome.several,
        request_id=stats.last_request_id,
        seconds_allowed=seconds,
    )


def _user(
    graph: GraphClient,
    mappings: AttributeMappings,
    text: str,
    more: Sequence[str] = (),
) -> User | None:
    wanted = [*_wanted(mappings), *more]
    if is_guid(text):
        return _or_none(lambda: graph.get_user(text, properties=wanted))
    found = {
        user.id: user
        for user in graph.find_users(
            mappings.user_name, text, properties=wanted, limit=CANDIDATES
        )
    }
    if not found and mappings.user_name != "userPrincipalName":
        upn = graph.find_users(
            "userPrincipalName", text, properties=wanted, limit=CANDIDATES
        )
        found = {user.id: user for user in upn}
    return _one(list(found.values()), lambda user: _shown_user(user, mappings))


def _group(graph: GraphClient, mappings: AttributeMappings, text: str) -> Group | None:
    if is_guid(text):
        return _or_none(lambda: graph.get_group(text))
    found = graph.find_groups(text, limit=CANDIDATES)
    return _one(found, lambda group: _shown_group(group, mappings))


def _one(found: Sequence[T], shown: Callable[[T], Found]) -> T | None:
    if len(found) > 1:
        raise _Ambiguous([shown(each) for each in found])
    return found[0] if found else None


def _or_none(get: Callable[[], T]) -> T | None:
    try:
        return get()
    except errors.DirectoryObjectNotFound:
        return None


def _nobody(text: str) -> Outcome:
    return Outcome(
        verdict="out",
        sentence=f"There is no user '{text}' in the tenant.",
        advice="Check the user name. It has to be complete; the mapping of Username "
        "says which property is compared.",
    )


def _no_group(text: str) -> Outcome:
    return Outcome(
        verdict="out",
        sentence=f"There is no group '{text}' in the tenant.",
        advice="Check the name. It has to be complete.",
    )


def _wanted(mappings: AttributeMappings) -> list[str]:
    names = [getattr(mappings, field) for field in USER_FIELDS]
    return list(dict.fromkeys(name for name in names if name))


def _shown_user(user: User, mappings: AttributeMappings) -> Found:
    return Found(
        name=user.display_name or user.user_principal_name or user.id,
        object_id=user.id,
        detail=user.user_principal_name or "",
        attributes=[
            _attribute(
                mappings,
                field,
                has=lambda name: name.partition(".")[0] in user.properties,
                value=user.value,
            )
            for field in USER_FIELDS
        ],
    )


def _shown_group(group: Group, mappings: AttributeMappings) -> Found:
    return Found(
        name=group.display_name or group.id,
        object_id=group.id,
        detail=group.mail or group.description or "",
        attributes=[
            _attribute(
                mappings,
                field,
                has=lambda name: name in group.properties,
                value=group.properties.get,
            )
            for field in GROUP_FIELDS
        ],
    )


def _attribute(
    mappings: AttributeMappings,
    field: str,
    *,
    has: Callable[[str], bool],
    value: Callable[[str], object],
) -> Attribute:
    graph_property = getattr(mappings, field)
    return Attribute(
        label=LABELS[field],
        graph_property=graph_property,
        value=_text(value(graph_property)) if graph_property else "",
        missing=bool(graph_property) and not has(graph_property),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    return str(value)
