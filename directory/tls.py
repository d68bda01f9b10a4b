"""Which TLS each connection speaks with Microsoft's hosts, as last seen."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from directory.entra import TlsInUse
from directory.models import CloudIdentityProvider, TlsConnection
from jamfidp.compiled import CompiledUpdate
from jamfidp.durability import may_be_lost, rows_changed_that_may_be_lost
from jamfidp.history.record import record


def noting(cloud_idp: CloudIdentityProvider) -> Callable[[TlsInUse], None]:
    """Return what a session calls with each handshake of this connection."""
    return lambda seen: note(cloud_idp, seen)


def note(cloud_idp: CloudIdentityProvider, seen: TlsInUse) -> None:
    """Keep what a handshake came to; history gets an entry when the version changes.

    Not when cipher or issuer do: Microsoft's servers differ in both from one
    connection to the next.
    """
    now = timezone.now()
    as_before = (seen.host, seen.protocol, seen.cipher, seen.issuer)
    told = _AS_BEFORE.told(cloud_idp.pk, *as_before, now)
    if not rows_changed_that_may_be_lost(*told):
        _note(cloud_idp, seen, now)


_AS_BEFORE = CompiledUpdate(
    lambda cloud_idp, host, protocol, cipher, issuer, now: (
        TlsConnection.objects.filter(
            cloud_idp=cloud_idp,
            host=host,
            protocol=protocol,
            cipher=cipher,
            issuer=issuer,
        ).order_by(),
        {"at": now},
    )
)


@may_be_lost()
def _note(cloud_idp: CloudIdentityProvider, seen: TlsInUse, now: datetime) -> None:
    row = (
        TlsConnection.objects.select_for_update()
        .filter(cloud_idp=cloud_idp, host=seen.host)
        .first()
    )
    if row is None:
        row = TlsConnection(cloud_idp=cloud_idp, host=seen.host, protocol_since=now)
    elif row.protocol != seen.protocol:
        record(
            obj=cloud_idp,
            actor=None,
            action="tls",
            note=f"{seen.host} is now spoken to over {seen.protocol}",
            details={"protocol": [row.protocol, seen.protocol]},
            now=now,
        )
        row.protocol_since = now
    row.protocol, row.cipher, row.issuer = seen.protocol, seen.cipher, seen.issuer
    row.at = now
    row.save()
