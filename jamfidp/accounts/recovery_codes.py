"""Recovery codes: each takes the place of a lost second factor, once."""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import sha256

from django.db import transaction

from jamfidp.accounts.models import RecoveryCode, User

COUNT = 10
# Without characters that are read as others: 32 of them, five bits each, 80 in all.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 16
GROUP = 4


@transaction.atomic
def make(account: User, *, now: datetime) -> list[str]:
    """Return new codes, which are shown once; the earlier ones stop working."""
    RecoveryCode.objects.filter(account=account).delete()
    codes = [
        "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH)) for _ in range(COUNT)
    ]
    RecoveryCode.objects.bulk_create(
        RecoveryCode(account=account, code_hash=_hash(code), created_at=now)
        for code in codes
    )
    return [
        "-".join(code[at : at + GROUP] for at in range(0, LENGTH, GROUP))
        for code in codes
    ]


def left(account: User) -> int:
    return RecoveryCode.objects.filter(account=account, used_at=None).count()


def take(account: User, code: str, *, now: datetime) -> bool:
    """Tell whether the code is one that was not used; use it."""
    unused = RecoveryCode.objects.filter(
        account=account, code_hash=_hash(code), used_at=None
    )
    return bool(unused.update(used_at=now))


def _hash(code: str) -> str:
    # 80 random bits: nothing to gain from a slow hash.
    plain = "".join(code.upper().split()).replace("-", "")
    return sha256(plain.encode()).hexdigest()
