"""Many changes at once, in time proportional to their number.

What is to change is either named, or as many as asked are drawn by chance: the same
seed gives the same in the same directory. Chance never strikes the named cast, whose
situations tests rely on, and no dynamic group. Whatever is wrong with a call is found
before anything changes.
"""

import random
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from directory.sandbox import dynamic_groups
from directory.sandbox.directory_object import DirectoryError, Kind, NotFoundError
from directory.sandbox.properties import security_identifier
from directory.sandbox.tenant import Tenant

Arguments = Mapping[str, Any]
Pair = tuple[int, int]
_TRIES = 20


def _chance(given: Arguments) -> random.Random:
    return random.Random(given["seed"])  # noqa: S311 not a secret


def _count(given: Arguments) -> int:
    count = given.get("count")
    if not isinstance(count, int) or count < 0:
        raise DirectoryError("'count' says how many, and is a number.")
    return count


def _too_few(count: int) -> DirectoryError:
    return DirectoryError(f"There are only {count} besides those of the named cast.")


def _objects(
    tenant: Tenant, kind: Kind, given: Arguments, *, deleted: bool = False
) -> list[int]:
    """Return the objects that are named by ``keys``, or drawn."""
    if "keys" in given:
        found = [tenant.need(key, kind, deleted=deleted) for key in given["keys"]]
        return list(dict.fromkeys(entry.number for entry in found))
    if deleted:
        numbers = tenant.of_kind(kind, tenant.deleted)
        if len(numbers) < _count(given):
            raise _too_few(len(numbers))
        return _chance(given).sample(numbers, _count(given))
    return _drawn(tenant.crowd(kind), given, lambda number: _is_present(tenant, number))


def _is_present(tenant: Tenant, number: int) -> bool:
    return not (number in tenant.overlay.purged or number in tenant.deleted)


def _drawn(
    numbers: Sequence[int], given: Arguments, fits: Callable[[int], bool]
) -> list[int]:
    count, source = _count(given), _chance(given)
    drawn: dict[int, None] = {}
    for _ in range(_TRIES * count if numbers else 0):
        if len(drawn) == count:
            break
        number = numbers[source.randrange(len(numbers))]
        if fits(number):
            drawn[number] = None
    if len(drawn) == count:
        return list(drawn)
    # Too many are asked for to rely on luck.
    left = [number for number in numbers if fits(number)]
    if len(left) < count:
        raise _too_few(len(left))
    return source.sample(left, count)


def _filled(properties: Arguments, number: int) -> dict[str, Any]:
    """Write an object's number for {n}, so that values can differ."""
    return {
        name: value.replace("{n}", str(number)) if isinstance(value, str) else value
        for name, value in properties.items()
    }


def _check_names(tenant: Tenant, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Raises DirectoryError when a user principal name is taken, or meant for two."""
    names = {
        str(value["userPrincipalName"]).casefold(): number
        for number, value in values.items()
        if "userPrincipalName" in value
    }
    wanted = sum("userPrincipalName" in value for value in values.values())
    if len(names) < wanted:
        raise DirectoryError("'userPrincipalName' needs {n}, to differ.")
    for name, number in names.items():
        if tenant.user_named(name) not in (None, number):
            raise DirectoryError(f"The user principal name '{name}' is taken.")


def change(tenant: Tenant, kind: Kind, given: Arguments) -> int:
    numbers = _objects(tenant, kind, given)
    properties = given.get("properties") or {}
    values = {number: _filled(properties, number) for number in numbers}
    _check_names(tenant, values)
    for number, value in values.items():
        tenant.change(tenant.id_of(number), kind, value)
    if kind is Kind.USER:
        dynamic_groups.refresh(tenant, numbers)
    return len(numbers)


def create(tenant: Tenant, kind: Kind, given: Arguments) -> int:
    source, first = _chance(given), tenant.next_number
    numbers = range(first, first + _count(given))
    defaults: dict[str, Any] = {"displayName": f"New {kind} {{n}}"}
    if kind is Kind.USER:
        defaults |= {
            "userPrincipalName": f"new.user{{n}}@{tenant.domain}",
            "accountEnabled": True,
            "userType": "Member",
        }
    else:
        defaults |= {"mailEnabled": False, "securityEnabled": True, "groupTypes": []}
    properties = defaults | dict(given.get("properties") or {})
    values = {number: _filled(properties, number) for number in numbers}
    _check_names(tenant, values)
    for value in values.values():
        key = str(uuid.UUID(int=source.getrandbits(128), version=4))
        if kind is Kind.GROUP:
            value["securityIdentifier"] = security_identifier(key)
        tenant.create(kind, key, value)
    if kind is Kind.USER:
        dynamic_groups.refresh(tenant, numbers)
    return len(numbers)


def delete(tenant: Tenant, kind: Kind, given: Arguments) -> int:
    numbers = _objects(tenant, kind, given)
    permanently = bool(given.get("permanently"))
    for number in numbers:
        key = tenant.id_of(number)
        tenant.delete(key, kind, at=given["at"], permanently=permanently)
    return len(numbers)


def restore(tenant: Tenant, kind: Kind, given: Arguments) -> int:
    numbers = _objects(tenant, kind, given, deleted=True)
    for number in numbers:
        tenant.restore(tenant.id_of(number), kind)
    return len(numbers)


def add(tenant: Tenant, given: Arguments) -> int:
    """Make memberships: named pairs, of one ``group``, or wherever chance has it."""
    if "memberships" in given:
        pairs = _named_pairs(tenant, given)
    elif "group" in given:
        group = tenant.need(given["group"], Kind.GROUP).number
        members = _drawn(
            tenant.crowd(Kind.USER),
            given,
            lambda number: (
                _is_present(tenant, number) and not tenant.is_member(group, number)
            ),
        )
        pairs = [(group, member) for member in members]
    else:
        pairs = _new_pairs(tenant, given)
    if any(tenant.is_member(group, member) for group, member in pairs):
        raise DirectoryError("Some of them are members already.")
    for group, member in pairs:
        tenant.link(group, member)
    return len(pairs)


def remove(tenant: Tenant, given: Arguments) -> int:
    """End memberships: named pairs, of one ``group``, or of the seed by chance."""
    if "memberships" in given:
        pairs = _named_pairs(tenant, given)
    elif "group" in given:
        group = tenant.need(given["group"], Kind.GROUP).number
        members = tenant.members(group)
        if "count" in given:
            members = _drawn(members, given, lambda _number: True)
        pairs = [(group, member) for member in members]
    else:
        pairs = _held_pairs(tenant, given)
    if not all(tenant.is_member(group, member) for group, member in pairs):
        raise NotFoundError("Some of them are no members.")
    for group, member in pairs:
        tenant.unlink(group, member)
    return len(pairs)


def _named_pairs(tenant: Tenant, given: Arguments) -> list[Pair]:
    pairs = [
        (tenant.need(group, Kind.GROUP).number, tenant.need(member).number)
        for group, member in given["memberships"]
    ]
    return list(dict.fromkeys(pairs))


def _open(tenant: Tenant, group: int) -> bool:
    return _is_present(tenant, group) and group not in tenant.ruled


def _new_pairs(tenant: Tenant, given: Arguments) -> list[Pair]:
    count, source = _count(given), _chance(given)
    groups, users = tenant.crowd(Kind.GROUP), tenant.crowd(Kind.USER)
    pairs: dict[Pair, None] = {}
    for _ in range(_TRIES * count if groups and users else 0):
        if len(pairs) == count:
            break
        group = groups[source.randrange(len(groups))]
        user = users[source.randrange(len(users))]
        if (
            _open(tenant, group)
            and _is_present(tenant, user)
            and not tenant.is_member(group, user)
        ):
            pairs[group, user] = None
    if len(pairs) < count:
        raise _too_few(len(pairs))
    return list(pairs)


def _held_pairs(tenant: Tenant, given: Arguments) -> list[Pair]:
    """Draw memberships that the seed's groups without a purpose still have."""
    links, groups = tenant.seed.member_links, tenant.seed.numbers[Kind.GROUP]
    first = groups.index(tenant.seed.crowd[Kind.GROUP].start)

    def pair(place: int) -> Pair:
        row = bisect_right(links.offsets, place) - 1
        return groups[row], links.targets[place]

    def fits(place: int) -> bool:
        group, member = pair(place)
        return _open(tenant, group) and tenant.is_member(group, member)

    places = range(links.offsets[first], len(links))
    return [pair(place) for place in _drawn(places, given, fits)]


_CHANGING = {"change": change, "create": create, "delete": delete, "restore": restore}
_LINKING = {"add": add, "remove": remove}
_KINDS = {"users": Kind.USER, "groups": Kind.GROUP}


def apply(tenant: Tenant, given: Arguments) -> int:
    """Do the ``action`` that is named and return how many were changed by it.

    Raises: DirectoryError, NotFoundError; then nothing has changed.
    """
    verb, _, noun = str(given["action"]).partition("-")
    if noun == "memberships" and verb in _LINKING:
        return _LINKING[verb](tenant, given)
    if noun in _KINDS and verb in _CHANGING:
        return _CHANGING[verb](tenant, _KINDS[noun], given)
    raise NotFoundError(f"There is no bulk action '{given['action']}'.")
