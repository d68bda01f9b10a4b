"""The last administrator: the console can always be administered without Entra."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import transaction
from django.db.models import QuerySet

from jamfidp.accounts.models import AccessLevel, PrivilegeSet, User, not_blocked


class LastAdministrator(Exception):
    """The change would leave nobody who can administer the console without Entra."""

    def __init__(self) -> None:
        super().__init__(
            "This is the last enabled local account with Full Access and the privilege "
            "set Administrator. Without one, nobody could administer the console when "
            "Entra cannot be reached. Nothing was changed. Give another local account "
            "these privileges first."
        )


def local_administrators() -> QuerySet[User]:
    """Local accounts that hold every privilege and can sign in with a password.

    Accounts of Entra never count, so that no change in Entra can trip the rule or be
    stopped by it.
    """
    return User.objects.filter(
        not_blocked(),
        object_id="",
        is_active=True,
        access_level=AccessLevel.FULL,
        privilege_set=PrivilegeSet.ADMINISTRATOR,
    ).exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)


@contextmanager
def one_remains() -> Iterator[None]:
    """Undo the change inside when it would leave no local administrator.

    Every change that could do so goes through here. Two people who each demote the
    other would both see one left: the rows are locked first (SQLite locks the whole
    database where a transaction begins).

    Raises:
        LastAdministrator
    """
    with transaction.atomic():
        before = list(local_administrators().select_for_update().values_list("pk"))
        yield
        if before and not local_administrators().exists():
            raise LastAdministrator
