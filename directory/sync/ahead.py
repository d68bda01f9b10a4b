"""What a plan of few changes will ask of the database, asked in one message.

Each question is asked where its answer is needed, too: what is not foreseen here, or
turns out otherwise, is asked by itself then.
"""

from datetime import datetime

from pyroaring import BitMap

from directory.models import DirectoryGroup, DirectoryUser, SyncRun
from directory.sync import decide, holds, single
from directory.sync.attributes import GroupRow, UserRow
from directory.sync.bitmaps import union
from directory.sync.numbers import Register
from directory.sync.stage import Resource, Round, entries_of
from directory.sync.stored import (
    asked_above,
    asked_rows,
    asked_sets,
    asked_standing,
    asked_states,
)
from jamfidp.compiled import Question

# People, groups and memberships that are few: the answers are held in memory together.
FEW = 500


def questions(
    run: SyncRun, round_: Round, register: Register, *, now: datetime
) -> list[Question]:
    """Return what will be asked to compare a round and to judge what it changes."""
    members = round_.members
    sides = [
        side
        for of in (members.users, members.groups, members.others)
        for side in (of.joined, of.left)
    ]
    if (
        round_.full
        or round_.pages.any_stored
        or sum(map(len, round_.seen.values())) + sum(map(len, sides)) > FEW
    ):
        return []
    named = union(map(BitMap, sides))
    joined = union(members.users.joined.values())
    if len(joined) > FEW:
        return []
    # First: what is read alone after this outdates the plan.
    asked = [single.asked_fresh(run), holds.asked_open(run.cloud_idp)]
    people, groups = (
        [entry[0] for page in round_.pages.at_hand(r) for entry in entries_of(page)]
        for r in (Resource.USERS, Resource.GROUPS)
    )
    changing = BitMap(members.users.joined) | BitMap(members.users.left)
    asked += [
        asked_rows(DirectoryUser, UserRow, people),
        asked_rows(DirectoryGroup, GroupRow, groups),
        asked_standing(named),
        asked_sets(changing),
        asked_states(DirectoryUser, joined - BitMap(register.hashes)),
        asked_above(changing),
    ]
    if people or groups or named:
        asked += decide.asked(run, now=now, left=bool(members.users.left))
    return asked
