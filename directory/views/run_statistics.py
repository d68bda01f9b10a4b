"""What a run cost and wrote, in words; how far it is; changes over time."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from statistics import median
from typing import Any

from django.utils import timezone

from directory.models import CloudIdentityProvider, DirectoryObject, SyncRun

CHART_DAYS = 30
# By so many of the last runs it is estimated how long one takes.
ESTIMATED_BY = 5
# A series of the chart: its label, and the changes of a run that it adds up.
SERIES: Sequence[tuple[str, Sequence[str]]] = (
    (
        "People",
        (
            "users_added",
            "users_changed",
            "users_deleted",
            "users_restored",
            "users_unknown",
        ),
    ),
    (
        "Groups",
        (
            "groups_added",
            "groups_changed",
            "groups_deleted",
            "groups_restored",
            "groups_unknown",
        ),
    ),
    (
        "Memberships",
        (
            "memberships_added",
            "memberships_removed",
            "nesting_added",
            "nesting_removed",
        ),
    ),
)
_TABLES = {
    "DirectoryUser": "People",
    "DirectoryGroup": "Groups",
    "DirectoryMembership": "Memberships",
    "GroupNesting": "Nested groups",
    "GroupClosure": "Groups within groups, all levels",
    "GroupBitmap": "Sets of members",
    "GroupOtherMember": "Other members",
}


def took(seconds: float) -> str:
    """Return a duration in words: '0.4 s', '12 s', '3 min 5 s', '1 h 2 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def work_of(run: SyncRun) -> dict[str, Any]:
    """Return what a run did with its time: phases, rows, waits, failed requests."""
    ended = run.started_at is not None and run.finished_at is not None
    return {
        "duration": took((run.finished_at - run.started_at).total_seconds())  # type: ignore[operator]
        if ended
        else "",
        "phases": [(name, took(seconds)) for name, seconds in run.phases],
        "rows": [
            (_TABLES.get(name, name), count)
            for name, count in sorted(
                run.rows_written.items(), key=lambda each: -each[1]
            )
        ],
        "lock": took(run.write_lock_seconds)
        if run.write_lock_seconds is not None
        else "",
        "waits": [
            {**wait, "took": took(wait["seconds"])}
            for wait in sorted(run.waits, key=lambda each: -each["seconds"])
        ],
        "failures": list(reversed(run.failures)),
    }


def end_of(run: SyncRun, *, now: datetime) -> dict[str, Any]:
    """Return how far a run is and how long it may take yet, as far as earlier ones tell.

    A full read is measured by how much the last one read. What else is read, and what
    comes after reading, is measured by how long such runs took lately. Without an
    earlier one, and beyond what is usual, nothing is said.
    """
    if run.started_at is None or run.state not in (
        SyncRun.State.READING,
        SyncRun.State.APPLYING,
    ):
        return {}
    earlier = _like(run)
    seconds = (now - run.started_at).total_seconds()
    if run.kind == SyncRun.Kind.FULL and run.state == SyncRun.State.READING:
        total, done = (_read(earlier[0]) if earlier else 0), _read(run)
        if total and done:
            left = seconds * max(total - done, 0) / done
            return {
                "total": total,
                "done": min(done, total),
                "estimate": took(left) if done < total else "nearly done",
            }
    left = median(map(_duration, earlier)) - seconds if earlier else 0.0
    return {"estimate": took(left)} if left >= 1 else {}


def _like(run: SyncRun) -> list[SyncRun]:
    """Return the last runs that did the same and ended well, the newest first.

    A dry run reads as much as a full read. People and groups are looked up in
    different ways.
    """
    runs = SyncRun.objects.filter(
        cloud_idp=run.cloud_idp_id,
        kind=run.kind,
        state=SyncRun.State.SUCCEEDED,
        started_at__isnull=False,
        finished_at__isnull=False,
    )
    if not run.is_read:
        kinds = DirectoryObject.objects.filter(pk=run.object_number or 0).values("kind")
        alike = DirectoryObject.objects.filter(
            cloud_idp=run.cloud_idp_id, kind__in=kinds
        )
        runs = runs.filter(object_number__in=alike.values("pk"))
    return list(runs.order_by("-finished_at", "-pk")[:ESTIMATED_BY])


def _duration(run: SyncRun) -> float:
    if run.started_at is None or run.finished_at is None:
        return 0.0
    return (run.finished_at - run.started_at).total_seconds()


def _read(run: SyncRun) -> int:
    return run.users_read + run.groups_read + run.memberships_read


def changes_by_day(
    cloud_idp: CloudIdentityProvider, *, now: datetime
) -> list[tuple[date, list[int]]]:
    """Return how much changed on each of the last days, in the order of SERIES.

    What the first read brought was no change.
    """
    today = timezone.localtime(now).date()
    days = [today - timedelta(days=back) for back in range(CHART_DAYS)][::-1]
    found = {day: [0] * len(SERIES) for day in days}
    runs = SyncRun.objects.filter(
        cloud_idp=cloud_idp,
        dry_run=False,
        state=SyncRun.State.SUCCEEDED,
        finished_at__gte=now - timedelta(days=CHART_DAYS),
    )
    if cloud_idp.first_complete_read_at is not None:
        runs = runs.filter(created_at__gte=cloud_idp.first_complete_read_at)
    for finished_at, changes in runs.values_list("finished_at", "changes").iterator():
        sums = found.get(timezone.localtime(finished_at).date())
        if sums is not None:
            for place, (_label, names) in enumerate(SERIES):
                sums[place] += sum(changes.get(name, 0) for name in names)
    return [(day, found[day]) for day in days]


def chart(days: Sequence[tuple[date, list[int]]]) -> dict[str, Any]:
    """Return the numbers as the chart takes them, and whether there is anything."""
    zone = timezone.get_default_timezone()
    return {
        "labels": [label for label, _names in SERIES],
        "at": [
            int(datetime.combine(day, datetime.min.time(), tzinfo=zone).timestamp())
            for day, _sums in days
        ],
        "values": [[sums[n] for _day, sums in days] for n in range(len(SERIES))],
    }
