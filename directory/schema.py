"""Whether the database is of the version that this process was made for.

After an upgrade workers of the version before may still run. They would write rows as
they knew them; so they take no work any more, and what they have begun is gone on with
by a worker that knows the database as it is.
"""

from functools import cache

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from jamfidp.compiled import Compiled, Question

Names = frozenset[tuple[str, str]]


@cache
def known() -> tuple[Names, Names]:
    """Return this version's migrations, and those that they replaced.

    Those that there were at the first call: a worker makes it when it starts, before an
    upgrade puts others in their place.
    """
    found = MigrationLoader(None).disk_migrations
    replaced = {name for each in found.values() for name in each.replaces}
    return frozenset(found), frozenset(replaced)


_APPLIED = Compiled(
    lambda: MigrationRecorder.Migration.objects.values_list("app", "name")
)


def asked() -> Question:
    """Return the question by which it is known whether the database fits."""
    return _APPLIED.with_()


def applied() -> Names:
    return frozenset(_APPLIED.rows())


class OtherVersion(Exception):
    """The database is of another version: a worker of that one has to go on."""


def fits() -> bool:
    """Whether this version's migrations were applied, and none of a later version."""
    ours, replaced = known()
    theirs = applied()
    apps = {app for app, _name in ours}
    later = {name for name in theirs - ours - replaced if name[0] in apps}
    return ours <= theirs and not later


def check() -> None:
    """Call it inside a transaction, before rows are written.

    Raises:
        OtherVersion
    """
    if not fits():
        raise OtherVersion
