"""Which TLS a connection speaks is noted with every conversation, and shown."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from directory import checking, tls
from directory.entra import TlsInUse
from directory.models import CloudIdentityProvider, SyncRun, TlsConnection
from jamfidp.history.models import ObjectHistory
from tests import cast, factories
from tests.conftest import Sandbox
from tests.directory.syncing import connected


def handshake(**changes: str) -> TlsInUse:
    return TlsInUse(
        **{
            "host": "graph.microsoft.com",
            "protocol": "TLS 1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
            "issuer": "Example Trust, Example CA 1",
        }
        | changes
    )


@pytest.fixture
def cloud_idp(db: None) -> CloudIdentityProvider:
    return factories.cloud_idp()


def text(client: Client, cloud_idp: CloudIdentityProvider) -> str:
    page = client.get(cloud_idp.get_absolute_url()).content.decode()
    panel = page[page.index("Encryption in transit") :]
    return " ".join(
        re.sub(r"<[^>]*>", " ", panel[: panel.index("What depends")]).split()
    )


def test_a_read_and_a_check_note_what_they_spoke(db: None, sandbox: Sandbox) -> None:
    story = connected(sandbox)
    before = timezone.now()

    story.read()
    (row,) = story.cloud_idp.tls.all()
    assert (row.host, row.protocol) == ("127.0.0.1", "TLS 1.3")
    assert row.cipher.startswith("TLS_")
    assert row.at >= before

    assert checking.check(story.cloud_idp, now=timezone.now())
    (again,) = story.cloud_idp.tls.all()
    assert again.at > row.at
    assert again.protocol_since == row.protocol_since


def test_each_host_and_each_connection_has_its_own(
    cloud_idp: CloudIdentityProvider,
) -> None:
    other = factories.cloud_idp("Quarrel", tenant_id=cast.QUARREL.tenant_id)

    for connection in (cloud_idp, other):
        for host in ("login.microsoftonline.com", "graph.microsoft.com"):
            tls.noting(connection)(handshake(host=host))
            tls.noting(connection)(handshake(host=host))

    assert TlsConnection.objects.count() == 4
    assert [row.host for row in other.tls.all()] == [
        "graph.microsoft.com",
        "login.microsoftonline.com",
    ]


def test_another_version_is_in_the_history_and_another_server_is_not(
    cloud_idp: CloudIdentityProvider,
) -> None:
    tls.note(cloud_idp, handshake())
    TlsConnection.objects.update(protocol_since=timezone.now() - timedelta(days=3))

    tls.note(cloud_idp, handshake(issuer="Example CA 2", cipher="TLS_OTHER"))
    (row,) = cloud_idp.tls.all()
    assert row.cipher == "TLS_OTHER"
    assert row.protocol_since < timezone.now() - timedelta(days=2)
    assert not ObjectHistory.objects.filter(action="tls").exists()

    tls.note(cloud_idp, handshake(protocol="TLS 1.2"))
    (row,) = cloud_idp.tls.all()
    assert row.protocol_since > timezone.now() - timedelta(minutes=1)
    entry = ObjectHistory.objects.get(action="tls")
    assert entry.note == "graph.microsoft.com is now spoken to over TLS 1.2"
    assert entry.details == {"protocol": ["TLS 1.3", "TLS 1.2"]}
    assert entry.actor is None


def test_the_page_shows_protocol_cipher_issuer_and_when(
    cloud_idp: CloudIdentityProvider, console: Client
) -> None:
    assert "Not seen yet" in text(console, cloud_idp)

    tls.note(cloud_idp, handshake(issuer="<b>Proxy</b> CA"))

    shown = text(console, cloud_idp)
    assert "graph.microsoft.com TLS 1.3, TLS_AES_256_GCM_SHA384" in shown
    assert "issued by &lt;b&gt;Proxy&lt;/b&gt; CA" in shown
    assert "just now" in shown or "ago" in shown
    assert "Anything below TLS 1.2, or without forward secrecy, is refused" in shown


def test_what_was_spoken_goes_with_the_connection(
    cloud_idp: CloudIdentityProvider,
) -> None:
    tls.note(cloud_idp, handshake())

    cloud_idp.delete()

    assert not TlsConnection.objects.exists()


def test_a_read_that_fails_notes_what_it_spoke(db: None, sandbox: Sandbox) -> None:
    story = connected(sandbox)
    story.read()
    TlsConnection.objects.all().delete()
    story.unavailable("/v1.0/groups/delta")

    assert story.sync().state == SyncRun.State.FAILED

    assert [row.host for row in story.cloud_idp.tls.all()] == ["127.0.0.1"]
