"""Settings > Entra ID application: what is entered, refused, kept and never shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from django.test import Client
from django.utils import timezone

from directory import connections, credentials
from directory.entra import CertificateCredential, ClientSecret
from directory.models import ApplicationRegistration, CloudIdentityProvider
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register

PAGE = "/settings/entra-application/PUBLIC/"
CLIENT_ID = "0a6d5c1e-93f4-4c2b-8e57-1d2f9b7c3a40"
SECRET = "abc8Q~canary-of-the-client-secret"
OTHER_KEY = "other:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


@pytest.fixture
def registration(administrator: User) -> ApplicationRegistration:
    return credentials.save_client_id(
        cloud_key="PUBLIC",
        client_id=CLIENT_ID,
        connections_confirmed=False,
        actor=administrator,
        now=timezone.now(),
    )


def pair(
    *,
    bits: int = 2048,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=90),
    passphrase: str = "",
) -> dict[str, str]:
    """A certificate and its key, as somebody would paste them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(key, hashes.SHA256())
    )
    encryption = (
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    )
    return {
        "certificate_pem": certificate.public_bytes(Encoding.PEM).decode(),
        "private_key_pem": key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption
        ).decode(),
        "passphrase": passphrase,
    }


def send(browser: Client, part: str, data: dict[str, str], status: int = 303) -> str:
    response = browser.post(f"{PAGE}{part}/", data)
    assert response.status_code == status, response.content.decode()
    return " ".join(response.content.decode().split())


def shown(browser: Client) -> str:
    return " ".join(browser.get(PAGE).content.decode().split())


# --- Client ID and secret ----------------------------------------------------------


def test_client_id_and_secret_are_kept_sealed_and_shown_by_fingerprint(
    browser: Client, administrator: User
) -> None:
    """A47"""
    send(
        browser,
        "client",
        {
            "client_id": CLIENT_ID.upper(),
            "client_secret": SECRET,
            "expires_on": "2099-03-04",
        },
    )

    stored = ApplicationRegistration.objects.get()
    assert stored.client_id == CLIENT_ID
    assert SECRET not in stored.client_secret_sealed
    assert credentials.credential(stored) == ClientSecret(SECRET)
    assert stored.client_secret_expires_at is not None
    assert stored.client_secret_expires_at.date().isoformat() == "2099-03-04"
    page = shown(browser)
    assert stored.client_secret_fingerprint in page
    for text in (page, repr(list(ObjectHistory.objects.values()))):
        assert SECRET not in text
        assert stored.client_secret_sealed not in text
    notes = {entry.note for entry in ObjectHistory.objects.all()}
    assert {"Entered the application (client) ID", "Entered a client secret"} <= notes


def test_the_page_names_redirect_uris_and_permissions_to_copy(
    browser: Client, administrator: User
) -> None:
    page = shown(browser)

    for address in (
        "http://localhost:8000/connector/consent/",
        "http://localhost:8000/connector/code/",
        "http://localhost:8000/connector/signed-out/",
        "http://localhost:8000/login/entra/callback/",
    ):
        assert f'data-copy="{address}"' in page
    for permission in (
        "e1fe6dd8-ba31-4d61-89e7-88639da4683d",
        "df021288-bdef-4463-88db-98f22de89214",
        "98830695-27a2-44f7-8c18-0c3ebc9698f6",
    ):
        assert permission in page


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"client_id": "nonsense"}, "not an application (client) ID"),
        ({"client_id": ""}, "This field is required"),
        (
            {"client_id": CLIENT_ID, "client_secret": CLIENT_ID},
            "the ID of a secret",
        ),
        (
            {
                "client_id": CLIENT_ID,
                "client_secret": SECRET,
                "expires_on": "2001-01-01",
            },
            "This date has passed",
        ),
        ({"client_id": CLIENT_ID, "expires_on": "soon"}, "Enter a valid date"),
    ],
)
def test_a_wrong_entry_is_refused_beside_its_field_and_changes_nothing(
    browser: Client, data: dict[str, str], sentence: str
) -> None:
    page = send(browser, "client", data, status=422)

    assert sentence in page
    assert f'value="{data["client_id"]}"' in page or not data["client_id"]
    assert SECRET not in page
    assert not ApplicationRegistration.objects.exists()


def test_a_secret_cannot_be_kept_without_a_key(browser: Client, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = []

    page = send(
        browser,
        "client",
        {"client_id": CLIENT_ID, "client_secret": SECRET},
        status=422,
    )

    assert "The secret was not stored" in page
    assert not ApplicationRegistration.objects.exists()


def test_an_empty_secret_keeps_the_present_one(
    browser: Client, registration: ApplicationRegistration
) -> None:
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    send(browser, "client", {"client_id": CLIENT_ID})
    send(browser, "client", {"client_id": CLIENT_ID, "expires_on": "2099-01-01"})

    registration.refresh_from_db()
    assert credentials.credential(registration) == ClientSecret(SECRET)
    assert registration.client_secret_expires_at is not None


def test_another_client_id_is_confirmed_when_connections_rely_on_it(
    browser: Client, registration: ApplicationRegistration
) -> None:
    factories.cloud_idp(cloud="PUBLIC")
    other = "11111111-2222-3333-4444-555555555555"

    page = send(browser, "client", {"client_id": other}, status=422)

    assert "1 connection relies on the present application" in page
    registration.refresh_from_db()
    assert registration.client_id == CLIENT_ID
    send(browser, "client", {"client_id": other, "connections_confirmed": "on"})
    registration.refresh_from_db()
    assert registration.client_id == other


# --- Certificates ------------------------------------------------------------------


def test_a_pasted_certificate_is_used_instead_of_the_secret(
    browser: Client, registration: ApplicationRegistration
) -> None:
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    entered = pair(passphrase="pass phrase")

    send(browser, "certificate", entered)

    registration.refresh_from_db()
    used = credentials.credential(registration)
    assert isinstance(used, CertificateCredential)
    assert used.thumbprint == registration.certificate_fingerprint
    # The passphrase is not kept: the key is stored sealed, without it.
    assert "ENCRYPTED" not in used.private_key_pem
    page = shown(browser)
    assert registration.certificate_fingerprint in page
    assert "PRIVATE KEY-----<" not in page
    assert used.private_key_pem not in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"certificate_pem": "rubbish"}, "not a certificate in PEM form"),
        ({"private_key_pem": "rubbish"}, "The private key cannot be read"),
        ({"private_key_pem": pair()["private_key_pem"]}, "does not belong to"),
        ({"passphrase": "needless"}, "do not go together"),
        ({"private_key_pem": ""}, "This field is required"),
        (pair(begins=timedelta(days=-9), ends=timedelta(days=-1)), "expired on"),
        (pair(begins=timedelta(days=1)), "is not valid before"),
        (pair(bits=1024), "The key has 1024 bits"),
    ],
    ids=[
        "no certificate",
        "no key",
        "another key",
        "passphrase without need",
        "key left out",
        "expired",
        "not yet valid",
        "too short",
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_with_the_reason(
    browser: Client,
    registration: ApplicationRegistration,
    changes: dict[str, str],
    sentence: str,
) -> None:
    entered = pair() | changes

    page = send(browser, "certificate", entered, status=422)

    assert sentence in page
    assert "-----BEGIN PRIVATE KEY-----\n" not in page
    registration.refresh_from_db()
    assert not registration.has_certificate


def test_a_key_of_another_kind_is_refused(
    browser: Client, registration: ApplicationRegistration
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )

    page = send(
        browser, "certificate", pair() | {"private_key_pem": key.decode()}, status=422
    )

    assert "RSA" in page


def test_a_generated_certificate_waits_until_it_is_put_in_use(
    browser: Client, registration: ApplicationRegistration
) -> None:
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})

    send(browser, "generate", {})

    registration.refresh_from_db()
    assert credentials.credential(registration) == ClientSecret(SECRET)
    download = browser.get(f"{PAGE}download/next/")
    certificate = x509.load_pem_x509_certificate(download.content)
    assert b"PRIVATE" not in download.content
    assert certificate.not_valid_after_utc > timezone.now() + timedelta(days=364)
    assert browser.get(f"{PAGE}download/current/").status_code == 404

    send(browser, "use-next", {})

    registration.refresh_from_db()
    used = credentials.credential(registration)
    assert isinstance(used, CertificateCredential)
    assert used.check() == certificate
    assert registration.next_certificate_pem == ""
    assert browser.get(f"{PAGE}download/current/").content == download.content


def test_a_generated_certificate_can_be_discarded(
    browser: Client, registration: ApplicationRegistration
) -> None:
    send(browser, "generate", {})
    send(browser, "discard-next", {})

    assert "There is no generated certificate" in send(
        browser, "use-next", {}, status=422
    )


def test_a_generated_key_that_cannot_be_read_is_not_put_in_use(
    browser: Client, registration: ApplicationRegistration, settings: Any
) -> None:
    send(browser, "generate", {})
    settings.ENCRYPTION_KEYS = [OTHER_KEY]

    assert "generated key cannot be read" in send(browser, "use-next", {}, status=422)


def test_nothing_is_generated_without_a_key(
    browser: Client, registration: ApplicationRegistration, settings: Any
) -> None:
    settings.ENCRYPTION_KEYS = []

    assert "No encryption key" in send(browser, "generate", {}, status=422)


def test_the_last_credential_of_connections_cannot_be_removed(
    browser: Client, registration: ApplicationRegistration
) -> None:
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    connection = factories.cloud_idp(cloud="PUBLIC")

    assert "connection relies on it" in send(browser, "remove-secret", {}, status=422)

    send(browser, "certificate", pair())
    send(browser, "remove-secret", {})
    assert "connection relies on it" in send(
        browser, "remove-certificate", {}, status=422
    )
    connection.delete()
    send(browser, "remove-certificate", {})
    registration.refresh_from_db()
    assert not registration.has_secret
    assert not registration.has_certificate


def test_a_certificate_connects_and_reads_a_tenant(
    sandbox: Sandbox, administrator: User
) -> None:
    """The generated certificate, uploaded to the registration, is all it takes."""
    found = register(sandbox, administrator)
    now = timezone.now()
    credentials.generate_certificate(found, actor=administrator, now=now)
    sandbox.control(
        "POST",
        f"applications/{found.client_id}/certificates",
        {"pem": found.next_certificate_pem},
    )
    sandbox.control("DELETE", f"applications/{found.client_id}/secrets/sandbox")
    credentials.use_next_certificate(found, actor=administrator, now=now)

    Journey(browser_for(administrator), sandbox).connect()

    cloud_idp = CloudIdentityProvider.objects.get()
    assert connections.check(cloud_idp, now=now)


# --- Reading -----------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[], [OTHER_KEY]])
def test_with_a_lost_key_the_page_says_so_and_offers_to_enter_anew(
    browser: Client,
    registration: ApplicationRegistration,
    settings: Any,
    keys: list[str],
) -> None:
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    settings.ENCRYPTION_KEYS = keys

    page = shown(browser)

    assert ("No encryption key" if not keys else "cannot be read") in page
    assert (
        "Cannot be read" in browser.get("/settings/entra-application/").content.decode()
    )
    registration.refresh_from_db()
    assert registration.has_secret
    if keys:
        send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
        assert "cannot be read" not in shown(browser)


def test_a_secret_of_one_cloud_does_not_decrypt_in_another(
    browser: Client, registration: ApplicationRegistration
) -> None:
    """A48"""
    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    registration.refresh_from_db()
    moved = ApplicationRegistration.objects.create(
        cloud="GCC_HIGH",
        client_id=CLIENT_ID,
        client_secret_sealed=registration.client_secret_sealed,
        changed_at=timezone.now(),
    )

    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.credential(moved)
    flipped = registration.client_secret_sealed[:-3] + "AA="
    registration.client_secret_sealed = flipped
    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.credential(registration)


def test_a_credential_that_expires_soon_is_marked(
    browser: Client, registration: ApplicationRegistration
) -> None:
    def expiring(at: datetime) -> str:
        ApplicationRegistration.objects.update(client_secret_expires_at=at)
        return browser.get("/settings/entra-application/").content.decode()

    send(browser, "client", {"client_id": CLIENT_ID, "client_secret": SECRET})
    now = timezone.now()

    assert "Ready" in expiring(now + timedelta(days=31))
    assert "Expires soon" in expiring(now + timedelta(days=29))
    assert "Expired" in expiring(now - timedelta(days=1))


def test_an_unknown_cloud_has_no_page(browser: Client, settings: Any) -> None:
    settings.ENTRA_SANDBOX_URL = ""

    for cloud in ("MOON", "SANDBOX"):
        address = f"/settings/entra-application/{cloud}/"
        assert browser.get(address).status_code == 404
        assert browser.post(f"{address}client/").status_code == 404
    assert browser.post(f"{PAGE}certificate/", pair()).status_code == 404
    assert browser.get(f"{PAGE}download/next/").status_code == 404


def test_without_a_credential_nothing_can_be_asked(
    registration: ApplicationRegistration,
) -> None:
    with pytest.raises(credentials.NoRegistration):
        credentials.credential(registration)
    with pytest.raises(credentials.NoRegistration):
        credentials.registration("PUBLIC")
    assert credentials.readable(registration)
