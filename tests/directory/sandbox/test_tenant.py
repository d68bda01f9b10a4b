"""Whatever becomes of a directory, whoever follows its changes ends where it stands."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from directory.sandbox import delta, generate
from directory.sandbox.behavior import Behavior
from directory.sandbox.delta_request import DeltaRequest
from directory.sandbox.directory_object import DirectoryError, Kind
from directory.sandbox.errors import GraphError
from directory.sandbox.overlay import Overlay
from directory.sandbox.page_tokens import TokenSealer
from directory.sandbox.rendered_pages import RenderedPages, Rows
from directory.sandbox.sizes import Sizes
from directory.sandbox.tenant import Tenant
from tests.cast import FERNHILL

SIZES = Sizes(users=40, groups=60, memberships=400, nestings=8)
SEED = generate.seed(FERNHILL, SIZES)
SEALER = TokenSealer("00" * 32)
MODEL = ("names", "unified", "users", "groups", "deleted", "members", "readers")
AT = "2026-01-01T00:00:00Z"


class Reader:
    """Follows one kind of object by delta queries, a page at a time."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.names: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.deleted: set[str] = set()
        self.token: dict[str, str] = {}

    def step(self, tenant: Tenant, behavior: Behavior) -> bool:
        """Read a page; say whether it was the last of its round."""
        wants = "displayName,members" if self.kind is Kind.GROUP else "displayName"
        page = delta.page(
            DeltaRequest(
                tenant=tenant,
                kind=self.kind,
                behavior=behavior,
                sealer=SEALER,
                now=1.0,
                valid_from=0.0,
                base="",
                hidden=frozenset(),
                parameters=self.token or {"$select": wants},
                minimal=False,
            )
        )
        value = page.value
        text = value.text if isinstance(value, Rows) else orjson.dumps(value)
        for item in orjson.loads(text):
            self._merge(item)
        if page.skip_token is None:
            self.token = {"$deltatoken": page.delta_token or ""}
            return True
        self.token = {"$skiptoken": page.skip_token}
        return False

    def finish(self, tenant: Tenant, behavior: Behavior) -> None:
        while not self.step(tenant, behavior):
            pass

    def _merge(self, item: dict[str, Any]) -> None:
        key = item["id"]
        reason = item.get("@removed", {}).get("reason")
        if reason == "deleted":
            self.names.pop(key, None)
            self.members.pop(key, None)
            self.deleted.discard(key)
        elif reason == "changed":
            self.deleted.add(key)
        else:
            self.deleted.discard(key)
            self.names[key] = item["displayName"]
            self._merge_members(key, item.get("members@delta", []))

    def _merge_members(self, key: str, changes: list[dict[str, Any]]) -> None:
        members = self.members.setdefault(key, set())
        for change in changes:
            if "@removed" in change:
                members.discard(change["id"])
            else:
                members.add(change["id"])

    def seen(self) -> dict[str, str]:
        return {k: name for k, name in self.names.items() if k not in self.deleted}


class Directory(RuleBasedStateMachine):
    """A tenant, a plain model of it, and two readers who follow it all the while."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.tenant = Tenant(SEED, pages=RenderedPages(Path(self._folder.name)))
        self.behavior = Behavior(delta_page_size=9, member_slice=13)
        self.count = 0
        self.snapshot: tuple[Overlay, dict[str, Any]] | None = None
        self._read_model()
        self._begin_reading()

    @initialize(told=st.booleans())
    def choose_whether_a_full_round_tells_of_the_deleted(self, told: bool) -> None:
        self.behavior.deleted_in_full_round = told

    def teardown(self) -> None:
        self._folder.cleanup()

    def _read_model(self) -> None:
        found = [*self.tenant.present(Kind.USER), *self.tenant.present(Kind.GROUP)]
        self.names = {each.id: each.properties["displayName"] for each in found}
        self.unified = {
            each.id
            for each in found
            if "Unified" in each.properties.get("groupTypes", ())
        }
        self.users = [each.id for each in found if each.kind is Kind.USER]
        self.groups = [each.id for each in found if each.kind is Kind.GROUP]
        self.deleted: set[str] = set()
        self.members = {
            each.id: {
                member.id
                for member in self.tenant.listed(self.tenant.members(each.number))
            }
            for each in found
            if each.kind is Kind.GROUP
        }

    def _begin_reading(self) -> None:
        self.readers = {kind: Reader(kind) for kind in (Kind.USER, Kind.GROUP)}

    def _is(self, key: str) -> bool:
        return key in self.names and key not in self.deleted

    @rule(position=st.integers(0, 10**6), name=st.sampled_from(("A", "B", "C")))
    def rename(self, position: int, name: str) -> None:
        everybody = [*self.users, *self.groups]
        key = everybody[position % len(everybody)]
        if self._is(key):
            kind = Kind.USER if key in self.users else Kind.GROUP
            self.tenant.change(key, kind, {"displayName": name})
            self.names[key] = name

    @rule(is_group=st.booleans())
    def create(self, is_group: bool) -> None:
        self.count += 1
        key = f"00000000-0000-4000-a000-{self.count:012d}"
        name = f"New {self.count}"
        if is_group:
            self.tenant.create(Kind.GROUP, key, {"displayName": name})
            self.groups.append(key)
            self.members[key] = set()
        else:
            upn = f"new{self.count}@fernhill.example"
            self.tenant.create(
                Kind.USER, key, {"displayName": name, "userPrincipalName": upn}
            )
            self.users.append(key)
        self.names[key] = name

    @rule(position=st.integers(0, 10**6), permanently=st.booleans())
    def delete(self, position: int, permanently: bool) -> None:
        everybody = [*self.users, *self.groups]
        key = everybody[position % len(everybody)]
        if key not in self.names:
            return
        kind = Kind.USER if key in self.users else Kind.GROUP
        is_soft = (kind is Kind.USER or key in self.unified) and not permanently
        if is_soft and key in self.deleted:
            with pytest.raises(DirectoryError):
                self.tenant.delete(key, kind, at=AT, permanently=False)
            return
        self.tenant.delete(key, kind, at=AT, permanently=permanently)
        if is_soft:
            self.deleted.add(key)
            return
        del self.names[key]
        self.deleted.discard(key)
        self.members.pop(key, None)
        for members in self.members.values():
            members.discard(key)

    @precondition(lambda self: self.deleted)
    @rule(position=st.integers(0, 10**6))
    def restore(self, position: int) -> None:
        key = sorted(self.deleted)[position % len(self.deleted)]
        self.tenant.restore(key, Kind.USER if key in self.users else Kind.GROUP)
        self.deleted.remove(key)
        if not self.behavior.deleted_in_full_round:
            # Who began to read meanwhile never heard of the memberships, and a restore
            # does not tell them: that is how Graph describes it.
            self._begin_reading()

    @rule(
        group=st.integers(0, 10**6),
        member=st.integers(0, 10**6),
        count=st.integers(1, 30),
    )
    def toggle_members(self, group: int, member: int, count: int) -> None:
        """Let those in who are out, and those out who are in."""
        key = self.groups[group % len(self.groups)]
        everybody = [*self.users, *self.groups]
        for offset in range(count):
            other = everybody[(member + offset) % len(everybody)]
            if not self._is(key) or not self._is(other) or other == key:
                continue
            if other in self.members[key]:
                self.tenant.remove_member(key, other)
                self.members[key].remove(other)
            else:
                self.tenant.add_member(key, other)
                self.members[key].add(other)

    @rule(kind=st.sampled_from((Kind.USER, Kind.GROUP)))
    def read_a_page(self, kind: Kind) -> None:
        self.readers[kind].step(self.tenant, self.behavior)

    @rule(slice_=st.sampled_from((1, 5, 13, 1000)), size=st.sampled_from((1, 9, 1000)))
    def cut_pages_otherwise(self, slice_: int, size: int) -> None:
        self.behavior.member_slice, self.behavior.delta_page_size = slice_, size

    @rule()
    def take_a_snapshot(self) -> None:
        model = copy.deepcopy({name: getattr(self, name) for name in MODEL})
        self.snapshot = (self.tenant.overlay.copy(), model)

    @precondition(lambda self: self.snapshot)
    @rule()
    def go_back(self) -> None:
        assert self.snapshot is not None
        overlay, model = self.snapshot
        changed = self.tenant.sequence > overlay.log.sequence
        for reader in self.readers.values():
            reader.finish(self.tenant, self.behavior)
            reader.finish(self.tenant, self.behavior)
        self.tenant.go_back(overlay.copy())
        if changed:
            for reader in self.readers.values():
                with pytest.raises(GraphError, match="syncStateNotFound"):
                    reader.step(self.tenant, self.behavior)
        for name, value in copy.deepcopy(model).items():
            setattr(self, name, value)

    @rule()
    def reset(self) -> None:
        self.snapshot = None
        self.tenant.reset()
        self._read_model()
        self._begin_reading()

    @rule()
    def everybody_knows_the_same(self) -> None:
        for reader in self.readers.values():
            # What came during a round is told by the next one.
            reader.finish(self.tenant, self.behavior)
            reader.finish(self.tenant, self.behavior)
        fresh = {kind: Reader(kind) for kind in self.readers}
        for reader in fresh.values():
            reader.finish(self.tenant, self.behavior)
        names = {key: name for key, name in self.names.items() if self._is(key)}
        members = {
            key: inside - self.deleted
            for key, inside in self.members.items()
            if self._is(key)
        }
        for readers in (self.readers, fresh):
            assert readers[Kind.USER].seen() | readers[Kind.GROUP].seen() == names
        # Who follows hears nothing of the memberships of those who are deleted.
        followed = self.readers[Kind.GROUP].members
        assert {key: followed[key] - self.deleted for key in members} == members
        listed = fresh[Kind.GROUP].members
        if self.behavior.deleted_in_full_round:
            listed = {key: inside - self.deleted for key, inside in listed.items()}
        assert listed == members

    @invariant()
    def counts_are_right(self) -> None:
        for kind, keys in ((Kind.USER, self.users), (Kind.GROUP, self.groups)):
            assert self.tenant.count(kind) == sum(map(self._is, keys))
        total = sum(map(len, self.members.values()))
        assert self.tenant.membership_count() == total

    def _groups_of(self, key: str) -> set[str]:
        return {group for group, inside in self.members.items() if key in inside}

    @rule(position=st.integers(0, 10**6))
    def one_object_is_as_it_was_made(self, position: int) -> None:
        everybody = [*self.users, *self.groups]
        key = everybody[position % len(everybody)]
        entry = self.tenant.find_even_deleted(key)
        if key not in self.names:
            assert entry is None
            return
        assert entry is not None
        assert entry.properties["displayName"] == self.names[key]
        assert (entry.deleted_at is not None) is (key in self.deleted)
        held = map(self.tenant.id_of, self.tenant.groups_holding(entry.number))
        assert set(held) == self._groups_of(key)


TestDirectory = Directory.TestCase
TestDirectory.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
