"""Two administrators who demote each other at the same moment."""

from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jamfidp.accounts import administrators, user_accounts
from jamfidp.accounts.administrators import LastAdministrator
from jamfidp.accounts.models import User
from tests import factories


@pytest.mark.django_db(transaction=True)
def test_a36_of_two_who_delete_each_other_one_remains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = [factories.administrator("one"), factories.administrator("two")]
    start = Barrier(2)
    refused: list[str] = []
    both_deleted = Barrier(2)
    delete_row = User.delete

    def delete_and_wait(self: User, *args: Any, **kwargs: Any) -> Any:
        outcome = delete_row(self, *args, **kwargs)
        # Meets the other only where nothing keeps the two apart.
        with suppress(BrokenBarrierError):
            both_deleted.wait(timeout=1)
        return outcome

    monkeypatch.setattr(User, "delete", delete_and_wait)

    def delete(victim: User, actor: User) -> None:
        try:
            start.wait(timeout=10)
            user_accounts.delete_account(victim, actor=actor, now=timezone.now())
        except LastAdministrator:
            refused.append(victim.username)
        finally:
            connection.close()

    threads = [
        Thread(target=delete, args=(pair[0], pair[1])),
        Thread(target=delete, args=(pair[1], pair[0])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert len(refused) == 1
    assert administrators.local_administrators().get().username == refused[0]
