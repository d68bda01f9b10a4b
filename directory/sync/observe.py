"""What an answer of Entra makes of a person or group: observed before, observed after.

Pure. Told is what Entra said of the object itself; inferred is what follows from a full
read that left it out.
"""

from datetime import datetime, timedelta

from directory.entra import Removed
from directory.models import DirectoryGroup, State
from directory.sync.attributes import GroupRow, Row, UserRow, in_state

# https://learn.microsoft.com/entra/fundamentals/users-restore: a deleted person or
# Microsoft 365 group can be restored for 30 days.
RESTORABLE = timedelta(days=30)
RESTORABLE_GROUPS = frozenset(
    {DirectoryGroup.Kind.MICROSOFT_365.value, DirectoryGroup.Kind.UNKNOWN.value}
)

# Neither is listed as anybody's member; of the first, memberships return with it.
DEPARTED = frozenset({State.DELETED.value, State.GONE.value})
# Named as somebody's member, and not read.
NAMED = frozenset({State.MENTIONED.value, State.UNREADABLE.value})


def removed(
    before: Row | None, new: Row, reason: str, *, member: bool, now: datetime
) -> Row | None:
    """Return what Entra says it removed; None where nobody here knew it.

    `member` says that some group names it: then it may return to that group.
    """
    gone = reason == Removed.DELETED
    if before is None and (gone or not member):
        return None
    return in_state(before or new, State.GONE if gone else State.DELETED, now=now)


def absent_person(before: UserRow, *, member: bool, now: datetime) -> UserRow | None:
    """Return the person whom a full read did not list; None is forgotten.

    Deleted, as far as one can tell: a full read does not say who can be restored, and
    whoever is restored brings no membership along.
    """
    return _absent(before, State.DELETED, member=member, now=now)


def absent_group(before: GroupRow, *, member: bool, now: datetime) -> GroupRow | None:
    """Return the group that a full read did not list; None is forgotten.

    Of groups Entra keeps those of Microsoft 365 alone for being restored.
    https://learn.microsoft.com/graph/api/resources/directory
    """
    fate = State.DELETED if before.kind in RESTORABLE_GROUPS else State.GONE
    return _absent(before, fate, member=member, now=now)


def _absent(before: Row, fate: State, *, member: bool, now: datetime) -> Row | None:
    match before.state:
        case State.MENTIONED:
            return before if member else None
        case State.GONE:
            return before
        case State.DELETED:
            since = before.state_since
            if since is not None and since > now - RESTORABLE:
                return before
            return in_state(before, State.GONE, now=now, told=False)
    if member:
        return in_state(before, State.UNREADABLE, now=now, told=False)
    return in_state(before, fate, now=now, told=False)


def filtered_person(before: UserRow, after: UserRow, *, now: datetime) -> UserRow:
    """Return the person whom the filter leaves out: known by what it looks at.

    What was read before stays, so that whatever names the person can say whom it names.
    """
    kept = before._replace(
        account_enabled=after.account_enabled, user_type=after.user_type
    )
    return in_state(kept, State.FILTERED, now=now)


def filtered_group(before: GroupRow, after: GroupRow, *, now: datetime) -> GroupRow:
    """Return the group that the filter leaves out: known by name, without members."""
    kept = after._replace(
        state=before.state, state_since=before.state_since, state_told=before.state_told
    )
    return in_state(kept, State.FILTERED, now=now)


def mentioned(row: Row, *, now: datetime) -> Row:
    """Return the row of an object that is named as a member and was not read."""
    return row._replace(state_since=now)
