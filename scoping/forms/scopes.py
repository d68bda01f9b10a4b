"""The scope editor's form: a draft that lives in its fields until it is saved.

Fields: `version`; `principal` (LOGGED_IN or ASSIGNED); `all_devices`; one `entry` for
each entry (ROLE|KIND|what it names) and one `nested` with the same value for each
group whose nested members count. `add`, `drop` and `rebind` change the draft, `save`
saves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from django.http import QueryDict

from scoping.drafts import Draft, EntryDraft, UnreadableEntry
from scoping.models import DeviceKind, Scope, ScopeEntry


@dataclass(frozen=True)
class ScopeForm:
    """What was posted: the draft, the version it was begun at, and what is asked."""

    draft: Draft
    version: int
    wants_to_save: bool = False
    # The column that was just changed: the keyboard goes on there.
    touched: str = ""
    problems: tuple[str, ...] = ()


@dataclass
class _Reader:
    problems: list[str] = field(default_factory=list)

    def entry(self, text: str) -> EntryDraft | None:
        try:
            return EntryDraft.read(text)
        except UnreadableEntry as error:
            self.problems.append(str(error))
            return None


def read_scope_form(data: QueryDict, *, kind: str) -> ScopeForm:
    """Read the posted draft and apply what one of its buttons asked for."""
    reader = _Reader()
    nested = set(data.getlist("nested"))
    draft = Draft(
        all_devices=bool(data.get("all_devices")),
        principal=_principal(data, kind),
    )
    for text in data.getlist("entry"):
        entry = reader.entry(text)
        if entry is not None:
            draft = draft.with_entry(
                replace(entry, nested=text in nested or entry.key in nested)
            )
    touched = ""
    for text in data.getlist("add"):
        entry = reader.entry(text)
        if entry is not None:
            draft, touched = draft.with_entry(entry), entry.role
    for key in data.getlist("drop"):
        draft, touched = draft.without(key), key.partition("|")[0]
    for text in data.getlist("rebind"):
        old, _, new = text.partition(">")
        entry = reader.entry(new)
        before = next((each for each in draft.entries if each.key == old), None)
        if entry is not None and before is not None:
            kept = replace(entry, nested=before.nested)
            draft, touched = draft.without(old).with_entry(kept), entry.role
    number = data.get("version", "")
    return ScopeForm(
        draft=draft,
        version=int(number) if number.isdecimal() and len(number) < 10 else 0,
        wants_to_save="save" in data,
        touched=touched if touched in ScopeEntry.Role.values else "",
        problems=tuple(dict.fromkeys(reader.problems)),
    )


def _principal(data: Any, kind: str) -> str:
    if kind == DeviceKind.MOBILE:
        return Scope.Principal.ASSIGNED
    asked = data.get("principal", "")
    return asked if asked in Scope.Principal.values else Scope.Principal.LOGGED_IN
