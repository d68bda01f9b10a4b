"""Which TLS each connection speaks with Microsoft's hosts, as last seen."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from directory.entra import TlsInUse
from directory.models import CloudIdentityProvider, TlsConnection
from jamfidp.durability import may_be_lost, update_that_may_be_lost
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
    as_before = TlsConnection.objects.filter(
        cloud_idp=cloud_idp,
        host=seen.host,
        protocol=seen.protocol,
        cipher=seen.cipher,
        issuer=seen.issuer,
    )
    if not update_that_may_be_lost(as_before.order_by(), at=now):
        _note(cloud_idp, seen, now)


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
