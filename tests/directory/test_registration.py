"""Settings > Entra ID application: what is entered, refused, kept and never shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from django.test import Client
from django.utils import timezone

from directory import checking, credentials, registrations
from directory.entra import (
    CertificateCredential,
    ClientSecret,
    FederatedAssertion,
    errors,
)
from directory.models import (
    ApplicationCredential,
    ApplicationRegistration,
    CloudIdentityProvider,
)
from jamfidp.accounts.models import User
from jamfidp.history.models import ObjectHistory
from tests import factories
from tests.conftest import Sandbox
from tests.directory.journey import Journey, browser_for, register

SETTINGS = "/settings/entra-application/"
PAGE = f"{SETTINGS}PUBLIC/"
CLIENT_ID = "0a6d5c1e-93f4-4c2b-8e57-1d2f9b7c3a40"
SECRET = "abc8Q~canary-of-the-client-secret"
OTHER_KEY = "other:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


@pytest.fixture
def browser(administrator: User) -> Client:
    return browser_for(administrator)


@pytest.fixture
def registration(administrator: User) -> ApplicationRegistration:
    return registrations.save_client_id(
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


PAIR = pair()


def pfx(
    entered: dict[str, str] = PAIR,
    *,
    passphrase: str = "",
    with_key: bool = True,
    with_certificate: bool = True,
) -> bytes:
    """The same in a PKCS#12 file."""
    key = load_pem_private_key(entered["private_key_pem"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(entered["certificate_pem"].encode())
    return pkcs12.serialize_key_and_certificates(
        b"console",
        key if with_key else None,
        certificate if with_certificate else None,
        None,
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption(),
    )


def send(browser: Client, address: str, data: dict[str, Any], status: int = 303) -> str:
    response = browser.post(address, data)
    assert response.status_code == status, response.content.decode()
    return " ".join(response.content.decode().split())


def add(
    browser: Client,
    found: ApplicationRegistration,
    way: str,
    data: dict[str, Any] | None = None,
    status: int = 303,
) -> str:
    address = f"{SETTINGS}registrations/{found.pk}/add/{way}/"
    return send(browser, address, data or {}, status)


def add_secret(browser: Client, found: ApplicationRegistration, **data: str) -> None:
    add(browser, found, "secret", {"client_secret": SECRET} | data)


def act(
    browser: Client, row: ApplicationCredential, deed: str, status: int = 303
) -> str:
    return send(browser, f"{SETTINGS}credentials/{row.pk}/{deed}/", {}, status)


def shown(browser: Client, page: str = PAGE) -> str:
    return " ".join(browser.get(page).content.decode().split())


def only(found: ApplicationRegistration) -> ApplicationCredential:
    return found.credentials.get()


# --- Client ID ---------------------------------------------------------------------


def test_the_page_names_redirect_uris_and_permissions_to_copy(
    browser: Client, administrator: User
) -> None:
    page = shown(browser)

    for address in (
        "http://localhost:8000/connector/consent/",
        "http://localhost:8000/connector/code/",
        "http://localhost:8000/connector/signed-out/",
        "http://localhost:8000/login/entra/callback/",
        "http://localhost:8000/login/entra/signed-out/",
    ):
        assert f'data-copy="{address}"' in page
    for permission in (
        "e1fe6dd8-ba31-4d61-89e7-88639da4683d",
        "df021288-bdef-4463-88db-98f22de89214",
        "98830695-27a2-44f7-8c18-0c3ebc9698f6",
    ):
        assert permission in page


@pytest.mark.parametrize(
    ("client_id", "sentence"),
    [
        ("nonsense", "not an application (client) ID"),
        ("", "This field is required"),
    ],
)
def test_a_wrong_client_id_is_refused_beside_its_field_and_changes_nothing(
    browser: Client, client_id: str, sentence: str
) -> None:
    page = send(browser, f"{PAGE}client/", {"client_id": client_id}, 422)

    assert sentence in page
    assert f'value="{client_id}"' in page or not client_id
    assert not ApplicationRegistration.objects.exists()


def test_another_client_id_is_confirmed_when_connections_rely_on_it(
    browser: Client, registration: ApplicationRegistration
) -> None:
    factories.cloud_idp(cloud="PUBLIC")
    other = "11111111-2222-3333-4444-555555555555"
    client = f"{PAGE}client/"

    page = send(browser, client, {"client_id": other}, 422)

    assert "1 connection relies on the present application" in page
    registration.refresh_from_db()
    assert registration.client_id == CLIENT_ID
    send(browser, client, {"client_id": other, "connections_confirmed": "on"})
    registration.refresh_from_db()
    assert registration.client_id == other


# --- Secrets -----------------------------------------------------------------------


def test_a47_a_secret_is_kept_sealed_and_shown_by_fingerprint(
    browser: Client, administrator: User
) -> None:
    send(browser, f"{PAGE}client/", {"client_id": CLIENT_ID.upper()})
    found = ApplicationRegistration.objects.get()
    add_secret(browser, found, expires_on="2099-03-04")

    row = only(found)
    assert found.client_id == CLIENT_ID
    assert SECRET not in row.sealed
    assert credentials.load(row) == ClientSecret(SECRET)
    assert row.expires_at is not None
    assert row.expires_at.date().isoformat() == "2099-03-04"
    assert row.added_by == administrator
    page = shown(browser)
    assert row.fingerprint in page
    for text in (page, repr(list(ObjectHistory.objects.values()))):
        assert SECRET not in text
        assert row.sealed not in text
    notes = {entry.note for entry in ObjectHistory.objects.all()}
    assert {
        "Entered the application (client) ID",
        f"Added the client secret {row.fingerprint}",
    } <= notes


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"client_secret": CLIENT_ID}, "the ID of a secret"),
        ({"client_secret": "  "}, "This field is required"),
        (
            {"client_secret": SECRET, "expires_on": "2001-01-01"},
            "This date has passed",
        ),
        ({"client_secret": SECRET, "expires_on": "soon"}, "Enter a valid date"),
    ],
)
def test_a_wrong_secret_is_refused_beside_its_field_and_changes_nothing(
    browser: Client,
    registration: ApplicationRegistration,
    data: dict[str, str],
    sentence: str,
) -> None:
    page = add(browser, registration, "secret", data, 422)

    assert sentence in page
    assert SECRET not in page
    if "expires_on" in data:
        assert f'value="{data["expires_on"]}"' in page
    assert not ApplicationCredential.objects.exists()


@pytest.mark.parametrize("way", ["secret", "generate", "certificate"])
def test_nothing_is_kept_without_an_encryption_key(
    browser: Client, registration: ApplicationRegistration, settings: Any, way: str
) -> None:
    settings.ENCRYPTION_KEYS = []
    address = f"{SETTINGS}registrations/{registration.pk}/add/{way}/"
    assert "No encryption key" in shown(browser, address)

    page = add(browser, registration, way, {"client_secret": SECRET} | PAIR, 422)

    assert "Nothing was stored" in page
    assert not ApplicationCredential.objects.exists()


def test_the_date_of_a_secret_can_be_corrected(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    row = only(registration)
    address = f"{SETTINGS}credentials/{row.pk}/expiry/"

    send(browser, address, {"expires_on": "2099-01-01"})
    assert 'value="2099-01-01"' in shown(browser, address)
    send(browser, address, {"expires_on": "2099-01-01"})

    row.refresh_from_db()
    assert row.expires_at is not None
    changes = ObjectHistory.objects.filter(note__startswith="Changed when")
    assert [entry.details for entry in changes] == [{"expires": ["", "2099-01-01"]}]
    assert credentials.load(row) == ClientSecret(SECRET)
    assert "Enter a valid date" in send(browser, address, {"expires_on": "x"}, 422)


# --- Certificates ------------------------------------------------------------------


def test_a_pasted_certificate_is_used_before_the_older_secret(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)

    add(browser, registration, "certificate", pair(passphrase="pass phrase"))

    now = timezone.now()
    first, second = credentials.in_order(registration.credentials.all(), now=now)
    used = credentials.load(first)
    assert isinstance(used, CertificateCredential)
    assert used.thumbprint == first.fingerprint
    assert credentials.load(second) == ClientSecret(SECRET)
    # The passphrase is not kept: the key is stored sealed, without it.
    assert "ENCRYPTED" not in used.private_key_pem
    page = shown(browser)
    assert page.index(first.fingerprint) < page.index(second.fingerprint)
    assert "In use" in page
    assert "In reserve" in page
    assert "PRIVATE KEY-----" not in page


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (pfx(passphrase="pass phrase"), "pass phrase"),
        (pfx(), ""),
        ((PAIR["private_key_pem"] + PAIR["certificate_pem"]).encode(), ""),
        (
            (PAIR["certificate_pem"] + "\n" + PAIR["private_key_pem"]).encode(),
            "",
        ),
    ],
    ids=["PKCS#12", "PKCS#12 without passphrase", "PEM", "PEM the other way round"],
)
def test_a_file_with_certificate_and_key_can_be_uploaded(
    browser: Client,
    registration: ApplicationRegistration,
    content: bytes,
    passphrase: str,
) -> None:
    add(
        browser,
        registration,
        "certificate",
        {"file": BytesIO(content), "passphrase": passphrase},
    )

    row = only(registration)
    used = credentials.load(row)
    assert isinstance(used, CertificateCredential)
    assert used.check().public_bytes(Encoding.PEM).decode() == PAIR["certificate_pem"]
    # The certificate alone stands in the clear, whatever else the file held.
    assert row.certificate_pem == PAIR["certificate_pem"]


@pytest.mark.parametrize(
    ("content", "passphrase", "sentence"),
    [
        (pfx(passphrase="pass phrase"), "another", "the passphrase is wrong"),
        (pfx(passphrase="pass phrase"), "", "the passphrase is wrong"),
        (b"rubbish", "", "it is no PKCS#12 file"),
        (pfx(with_key=False), "", "holds no private key"),
        (pfx(with_certificate=False), "", "holds no certificate"),
        (pfx(pair(ends=timedelta(hours=-1))), "", "expired on"),
        (pfx(pair(bits=1024)), "", "The key has 1024 bits"),
        (PAIR["private_key_pem"].encode(), "", "not a certificate in PEM form"),
        (b"PRIVATE KEY-----\xff", "", "This PEM file is damaged"),
        (b"x" * 200_000, "", "too large"),
    ],
    ids=[
        "another passphrase",
        "no passphrase",
        "no such file",
        "no key",
        "no certificate",
        "expired",
        "too short",
        "a key alone",
        "damaged",
        "too large",
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    browser: Client,
    registration: ApplicationRegistration,
    content: bytes,
    passphrase: str,
    sentence: str,
) -> None:
    page = add(
        browser,
        registration,
        "certificate",
        {"file": BytesIO(content), "passphrase": passphrase},
        422,
    )

    assert sentence in page
    assert not ApplicationCredential.objects.exists()


def test_a_key_of_another_kind_in_a_file_is_refused(
    browser: Client, registration: ApplicationRegistration
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector")])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = pkcs12.serialize_key_and_certificates(
        b"x", key, certificate, None, NoEncryption()
    )

    page = add(browser, registration, "certificate", {"file": BytesIO(file)}, 422)

    assert "Microsoft accepts RSA certificates only" in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"certificate_pem": "rubbish"}, "not a certificate in PEM form"),
        ({"private_key_pem": "rubbish"}, "The private key cannot be read"),
        ({"private_key_pem": pair()["private_key_pem"]}, "does not belong to"),
        ({"passphrase": "needless"}, "do not go together"),
        ({"private_key_pem": ""}, "Paste the private key as well"),
        ({"certificate_pem": ""}, "Paste the certificate as well"),
        ({"certificate_pem": "", "private_key_pem": ""}, "Choose a file, or paste"),
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
        "certificate left out",
        "both left out",
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
    page = add(browser, registration, "certificate", PAIR | changes, 422)

    assert sentence in page
    assert "-----BEGIN PRIVATE KEY-----\n" not in page
    assert not ApplicationCredential.objects.exists()


def test_a_file_and_texts_at_once_are_refused_because_they_could_differ(
    browser: Client, registration: ApplicationRegistration
) -> None:
    page = add(
        browser, registration, "certificate", {"file": BytesIO(pfx())} | PAIR, 422
    )

    assert "not both" in page


def test_a_pasted_key_of_another_kind_is_refused(
    browser: Client, registration: ApplicationRegistration
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )

    page = add(
        browser,
        registration,
        "certificate",
        PAIR | {"private_key_pem": key.decode()},
        422,
    )

    assert "RSA" in page


def test_a_generated_certificate_waits_until_it_is_put_in_use(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)

    add(browser, registration, "generate")

    now = timezone.now()
    first = credentials.first(registration, now=now)
    assert first is not None
    assert credentials.load(first) == ClientSecret(SECRET)
    waiting = registration.credentials.get(in_use=False)
    assert "Waits to be put in use" in shown(browser)
    download = browser.get(f"{SETTINGS}credentials/{waiting.pk}/download/")
    certificate = x509.load_pem_x509_certificate(download.content)
    assert b"PRIVATE" not in download.content
    assert certificate.not_valid_after_utc > now + timedelta(days=364)

    act(browser, waiting, "use")

    assert "Microsoft could not be asked" in shown(browser)
    first = credentials.first(registration, now=timezone.now())
    assert first == waiting
    used = credentials.load(first)
    assert isinstance(used, CertificateCredential)
    assert used.check() == certificate
    act(browser, waiting, "use")
    assert "in use already" in shown(browser)


def test_one_generated_certificate_waits_at_a_time_and_can_be_discarded(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add(browser, registration, "generate")
    assert "waits already" in add(browser, registration, "generate", status=422)
    row = only(registration)

    assert "Discard this certificate?" in shown(
        browser, f"{SETTINGS}credentials/{row.pk}/remove/"
    )
    act(browser, row, "remove")

    assert not ApplicationCredential.objects.exists()
    act(browser, row, "use", 404)


def test_a_generated_key_that_cannot_be_read_is_not_put_in_use(
    browser: Client, registration: ApplicationRegistration, settings: Any
) -> None:
    add(browser, registration, "generate")
    settings.ENCRYPTION_KEYS = [OTHER_KEY]

    act(browser, only(registration), "use")

    assert "generated key cannot be read" in shown(browser)
    assert not only(registration).in_use


def test_a_generated_certificate_that_expired_while_it_waited_is_not_put_in_use(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add(browser, registration, "generate")
    expired = pair(ends=timedelta(hours=-1))["certificate_pem"]
    ApplicationCredential.objects.update(certificate_pem=expired)

    act(browser, only(registration), "use")

    assert "This certificate expired on" in shown(browser)


def test_two_credentials_overlap_and_a_third_waits_for_room(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    add(browser, registration, "certificate", PAIR)

    page = add(browser, registration, "secret", {"client_secret": "another"}, 422)
    assert "Two credentials are in use already" in page
    add(browser, registration, "generate")
    waiting = registration.credentials.get(in_use=False)
    act(browser, waiting, "use")
    assert "Two credentials are in use already" in shown(browser)

    # What cannot work any more makes room by itself.
    registration.credentials.filter(kind="SECRET").update(
        expires_at=timezone.now() - timedelta(days=1)
    )
    act(browser, waiting, "use")
    assert registration.credentials.filter(in_use=True).count() == 3


def test_the_last_credential_of_connections_cannot_be_removed(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    secret = only(registration)
    connection = factories.cloud_idp(cloud="PUBLIC")
    address = f"{SETTINGS}credentials/{secret.pk}/remove/"
    assert "Nothing else is in use" in shown(browser, address)

    assert "connection relies on it" in act(browser, secret, "remove", 422)

    add(browser, registration, "certificate", PAIR)
    assert "From now on this is used" in shown(browser, address)
    act(browser, secret, "remove")
    certificate = only(registration)
    assert "connection relies on it" in act(browser, certificate, "remove", 422)
    connection.delete()
    act(browser, certificate, "remove")
    assert not ApplicationCredential.objects.exists()


def test_a_certificate_connects_and_reads_a_tenant(
    sandbox: Sandbox, administrator: User
) -> None:
    """The generated certificate, uploaded to the registration, is all it takes."""
    found = register(sandbox, administrator)
    browser = browser_for(administrator)
    Journey(browser, sandbox).connect()
    page = f"{SETTINGS}SANDBOX/"
    add(browser, found, "generate")
    waiting = found.credentials.get(in_use=False)

    # Not uploaded yet: Microsoft is asked, and what is in use stays.
    act(browser, waiting, "use")
    assert "AADSTS700027" in shown(browser, page)
    assert not found.credentials.get(pk=waiting.pk).in_use

    sandbox.control(
        "POST",
        f"applications/{found.client_id}/certificates",
        {"pem": waiting.certificate_pem},
    )
    sandbox.control("DELETE", f"applications/{found.client_id}/secrets/sandbox")
    act(browser, waiting, "use")
    assert "Microsoft accepts the certificate" in shown(browser, page)

    cloud_idp = CloudIdentityProvider.objects.get()
    assert checking.check(cloud_idp, now=timezone.now())


# --- Reading -----------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[], [OTHER_KEY]])
def test_with_a_lost_key_the_page_says_so_and_offers_to_enter_anew(
    browser: Client,
    registration: ApplicationRegistration,
    settings: Any,
    keys: list[str],
) -> None:
    add_secret(browser, registration)
    settings.ENCRYPTION_KEYS = keys

    page = shown(browser)

    assert ("No encryption key" if not keys else "cannot be read") in page
    assert "Cannot be read" in browser.get(SETTINGS).content.decode()
    row = only(registration)
    assert row.sealed
    if keys:
        add_secret(browser, registration)
        assert credentials.first(registration, now=timezone.now()) != row
        act(browser, row, "remove")
        assert "cannot be read" not in shown(browser)


def test_a48_a_credential_of_one_row_does_not_decrypt_in_another(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    row = only(registration)
    moved = ApplicationCredential.objects.create(
        registration=registration,
        kind="SECRET",
        sealed=row.sealed,
        added_at=timezone.now(),
    )

    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.load(moved)
    # Nor as another kind of the same row: a secret is no key.
    row.kind = ApplicationCredential.Kind.CERTIFICATE
    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.load(row)
    row.kind = ApplicationCredential.Kind.SECRET
    row.sealed = row.sealed[:-3] + "AA="
    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.load(row)


def test_a_credential_that_expires_soon_is_marked(
    browser: Client, registration: ApplicationRegistration
) -> None:
    def expiring(at: datetime) -> str:
        ApplicationCredential.objects.update(expires_at=at)
        return browser.get(SETTINGS).content.decode()

    assert "No credential" in browser.get(SETTINGS).content.decode()
    add_secret(browser, registration)
    now = timezone.now()

    assert "Ready" in expiring(now + timedelta(days=31))
    assert "Expires soon" in expiring(now + timedelta(days=29))
    assert "Expired" in expiring(now - timedelta(days=1))


def test_an_unknown_cloud_has_no_page(browser: Client, settings: Any) -> None:
    settings.ENTRA_SANDBOX_URL = ""

    for cloud in ("MOON", "SANDBOX"):
        address = f"{SETTINGS}{cloud}/"
        assert browser.get(address).status_code == 404
        assert browser.post(f"{address}client/").status_code == 404
    for address in (
        "registrations/9/add/secret/",
        "credentials/9/download/",
        "credentials/9/expiry/",
        "own/9/",
    ):
        assert browser.get(SETTINGS + address).status_code == 404


def test_what_a_credential_is_not_it_does_not_offer(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    secret = only(registration)
    add(browser, registration, "certificate", PAIR)
    certificate = registration.credentials.get(kind="CERTIFICATE")

    for row, deed in ((secret, "download"), (certificate, "expiry")):
        address = f"{SETTINGS}credentials/{row.pk}/{deed}/"
        assert browser.get(address).status_code == 404
    unknown = f"{SETTINGS}registrations/{registration.pk}/add/prayer/"
    assert browser.get(unknown).status_code == 404


def test_without_a_credential_nothing_can_be_asked(
    registration: ApplicationRegistration,
) -> None:
    with pytest.raises(registrations.NoRegistration):
        credentials.require_one(registration)
    with pytest.raises(registrations.NoRegistration):
        registrations.registration("GCC_HIGH")
    assert credentials.readable(registration)


def test_whoever_may_only_look_sees_the_credentials_and_no_button(
    browser: Client, registration: ApplicationRegistration
) -> None:
    add_secret(browser, registration)
    auditor = factories.custom_account("auditor", "Read Entra ID Application")

    page = shown(browser_for(auditor), PAGE)

    main = page[page.index("<main") : page.index("</main>")]
    assert only(registration).fingerprint in main
    assert CLIENT_ID in main
    assert "<form" not in main
    assert "/add/" not in main


# --- Federated assertions ------------------------------------------------------------


@pytest.fixture
def assertion_file(tmp_path: Path, settings: Any) -> Path:
    """A file that the platform writes, and that the settings name."""
    file = tmp_path / "token"
    settings.FEDERATED_TOKEN_FILES = [str(file)]
    write_assertion(file)
    return file


def write_assertion(file: Path, *, ends_in: int = 3600) -> str:
    token = jwt.encode(
        {
            "iss": "https://issuer.example",
            "sub": "system:serviceaccount:console:console",
            "aud": "api://AzureADTokenExchange",
            "exp": int(timezone.now().timestamp()) + ends_in,
        },
        "k" * 32,
    )
    file.write_text(token)
    return token


def test_an_assertion_is_used_by_its_file_and_never_stored_or_shown(
    browser: Client, registration: ApplicationRegistration, assertion_file: Path
) -> None:
    token = assertion_file.read_text()
    address = f"{SETTINGS}registrations/{registration.pk}/add/assertion/"
    offered = shown(browser, address)
    for claim in (
        "https://issuer.example",
        "system:serviceaccount:console:console",
        "api://AzureADTokenExchange",
    ):
        assert f'data-copy="{claim}"' in offered

    add(browser, registration, "assertion", {"assertion_file": str(assertion_file)})

    row = only(registration)
    assert credentials.load(row) == FederatedAssertion(assertion_file)
    page = shown(browser)
    assert "https://issuer.example" in page
    assert "In use" in page
    rows = repr(list(ApplicationCredential.objects.values()))
    for text in (offered, page, rows, repr(list(ObjectHistory.objects.values()))):
        assert token not in text
    again = add(
        browser,
        registration,
        "assertion",
        {"assertion_file": str(assertion_file)},
        422,
    )
    assert "in use already" in again


def test_an_assertion_that_is_missing_or_expired_is_said_and_comes_back(
    browser: Client, registration: ApplicationRegistration, assertion_file: Path
) -> None:
    data = {"assertion_file": str(assertion_file)}
    write_assertion(assertion_file, ends_in=-60)
    assert "was not replaced" in add(browser, registration, "assertion", data, 422)
    write_assertion(assertion_file)
    add(browser, registration, "assertion", data)

    assertion_file.unlink()
    page = shown(browser)
    assert "No assertion" in page
    assert "There is no file" in page
    assert "No assertion" in shown(browser, SETTINGS)
    with pytest.raises(errors.AssertionUnavailable):
        credentials.require_one(registration)

    write_assertion(assertion_file)
    assert "Ready" in shown(browser, SETTINGS)


def test_no_file_is_read_but_those_that_the_settings_name(
    browser: Client,
    registration: ApplicationRegistration,
    assertion_file: Path,
    settings: Any,
) -> None:
    other = assertion_file.with_name("other")
    other.write_text("canary of another file")

    page = add(browser, registration, "assertion", {"assertion_file": str(other)}, 422)
    assert "Select a valid choice" in page
    with pytest.raises(registrations.RegistrationRefused):
        credentials.add_assertion(
            registration, file=str(other), actor=None, now=timezone.now()
        )

    add(browser, registration, "assertion", {"assertion_file": str(assertion_file)})
    settings.FEDERATED_TOKEN_FILES = []
    assert "FEDERATED_TOKEN_FILES does not name" in shown(browser)
    address = f"{SETTINGS}registrations/{registration.pk}/add/assertion/"
    assert "No file is named" in shown(browser, address)
