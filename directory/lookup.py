"""One person or group, asked of Microsoft now by a name or an object ID.

What is not unique is not chosen, and what Microsoft could not be asked is never shown
as absent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db.models import Q

from directory import clouds, permission_use, tokens
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
from directory.permissions import Feature
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
T = TypeVar("T")


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


class Ambiguous(Exception):
    """Several objects have the name."""

    def __init__(self, found: Sequence[Found]) -> None:
        super().__init__("several objects have this name")
        self.found = found


def one_user(
    graph: GraphClient,
    mappings: AttributeMappings,
    text: str,
    *,
    more: Sequence[str] = (),
) -> tuple[User | None, str]:
    """Find a person by mapped user name, user principal name or object ID.

    Returns also by what. `more` are properties to ask for besides the mapped ones.

    Raises:
        Ambiguous
    """
    text = text.strip()
    named = [getattr(mappings, field) for field in USER_FIELDS]
    wanted = [name for name in dict.fromkeys([*named, *more]) if name]
    if is_guid(text):
        found = _or_none(lambda: graph.get_user(text, properties=wanted))
        return found, "object ID"
    by = mappings.user_name
    matches = graph.find_users(by, text, properties=wanted, limit=CANDIDATES)
    if not matches and by != "userPrincipalName":
        by = "userPrincipalName"
        matches = graph.find_users(by, text, properties=wanted, limit=CANDIDATES)
    several = list({user.id: user for user in matches}.values())
    return _one(several, lambda user: shown_user(user, mappings)), by


def one_group(
    graph: GraphClient, mappings: AttributeMappings, text: str
) -> tuple[Group | None, str]:
    """Find a group by name or object ID; returns also by what.

    Raises:
        Ambiguous
    """
    text = text.strip()
    if is_guid(text):
        return _or_none(lambda: graph.get_group(text)), "object ID"
    found = graph.find_groups(text, limit=CANDIDATES)
    return _one(found, lambda group: shown_group(group, mappings)), "displayName"


def _one(found: Sequence[T], shown: Callable[[T], Found]) -> T | None:
    if len(found) > 1:
        raise Ambiguous([shown(each) for each in found])
    return found[0] if found else None


def _or_none(get: Callable[[], T]) -> T | None:
    try:
        return get()
    except errors.DirectoryObjectNotFound:
        return None


def shown_user(user: User, mappings: AttributeMappings) -> Found:
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


def shown_group(group: Group, mappings: AttributeMappings) -> Found:
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


# --- What other mappings would make of somebody --------------------------------------


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


class _NotAsked(Exception):
    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.why, self.advice = why, advice


def preview_person(
    cloud_idp: CloudIdentityProvider, *, text: str, proposed: AttributeMappings
) -> Preview:
    """Show what other mappings make of a person, live; else by what is stored."""
    mapped = mapped_properties(proposed)
    stats = TransferStats()
    try:
        user = _asked(cloud_idp, text, list(mapped.values()), stats)
    except Ambiguous as ambiguous:
        return Preview(
            why="Several have this name, so it does not say which one is meant.",
            several=ambiguous.found,
        )
    except _NotAsked as not_asked:
        return _stored_preview(cloud_idp, text, mapped, not_asked)
    if user is None:
        return Preview(
            live=True,
            why=f"There is no user '{text}' in the tenant.",
            advice="Check the user name. It has to be complete.",
        )
    read = values_reader(mapped)
    becomes = dict(zip(USER_VALUES, read(user.properties), strict=True))
    row = DirectoryUser.objects.filter(cloud_idp=cloud_idp, object_id=user.id).first()
    return Preview(
        name=user.display_name or user.user_principal_name or user.id,
        object_id=user.id,
        live=True,
        request_id=stats.last_request_id,
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


def _asked(
    cloud_idp: CloudIdentityProvider,
    text: str,
    properties: Sequence[str],
    stats: TransferStats,
) -> User | None:
    if not cloud_idp.enabled:
        raise _NotAsked(
            "The connection is disabled, so Microsoft was not asked.",
            "Enable it to see what Microsoft says now.",
        )
    try:
        session = EntraSession(
            clouds.cloud(cloud_idp.cloud),
            observer=stats,
            total_seconds=cloud_idp.search_timeout,
        )
        with session:
            graph = tokens.graph_client(cloud_idp, session=session, priority="high")
            with permission_use.counted(cloud_idp, Feature.MAPPINGS, graph):
                return one_user(graph, cloud_idp.mappings, text, more=properties)[0]
    except errors.EntraError as error:
        if isinstance(error, errors.PermissionMissing):
            tokens.forget(cloud_idp)
        raise _NotAsked(error.message, error.advice) from None


def _stored_preview(
    cloud_idp: CloudIdentityProvider,
    text: str,
    mapped: Mapping[str, str],
    not_asked: _NotAsked,
) -> Preview:
    """The same by the rows, where the rows were read by the mappings that stand."""
    text, key = text.strip(), name_key(text)
    people = DirectoryUser.objects.present().filter(cloud_idp=cloud_idp)
    named = Q(user_principal_name__iexact=text) | Q(object_id=text.lower())
    found = list(people.filter(named | Q(user_name_key=key) if key else named)[:2])
    if len(found) != 1:
        return Preview(why=not_asked.why, advice=not_asked.advice)
    (person,) = found
    selection = selection_of(cloud_idp)
    read_by_these = cloud_idp.delta_selection == selection.signature
    columns = stored_in(selection.mapped) if read_by_these else {}

    def becomes(name: str) -> str | None:
        graph_property = mapped.get(name)
        if graph_property is None:
            return ""
        column = columns.get(graph_property)
        return None if column is None else str(getattr(person, column))

    return Preview(
        name=str(person),
        object_id=person.object_id,
        why=not_asked.why,
        advice=not_asked.advice,
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
