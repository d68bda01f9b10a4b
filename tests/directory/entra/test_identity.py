"""MSAL as the console uses it, against answers in Microsoft's form."""

import json
import logging
import pickle
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import responses
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from directory.entra import (
    PUBLIC,
    AccessToken,
    CertificateCredential,
    ClientSecret,
    KeptTokens,
    TokenCache,
    TokenSource,
    app_only_token,
    errors,
    nonce_hash,
    redeem_code,
)
from directory.entra.errors import IdTokenReason
from tests.directory.entra.certificates import certificate, ec_certificate
from tests.directory.entra.fakes import (
    CLIENT_ID,
    CODE,
    CONFIGURATION_URL,
    GRAPH,
    LOGIN,
    SECRET,
    TENANT,
    TOKEN,
    TOKEN_URL,
    Signer,
    configuration,
    discovery,
    session_for,
    sign_in_failure,
)

RETURN = "http://localhost:8000/login/entra/callback/"
NONCE = "kept-here"
SIGNER = Signer()
KEY, CERTIFICATE = certificate()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def microsoft() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(CONFIGURATION_URL, json=configuration())
        yield mock


def grant(mock: responses.RequestsMock, number: int = 1, **changes: Any) -> None:
    mock.post(
        TOKEN_URL,
        json={
            "token_type": "Bearer",
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": f"{TOKEN}-{number}",
            **changes,
        },
    )


def source(secret: str = SECRET, *, cache: TokenCache | None = None) -> TokenSource:
    return TokenSource(
        cloud=PUBLIC,
        tenant=TENANT,
        client_id=CLIENT_ID,
        credential=ClientSecret(secret),
        session=session_for(),
        cache=cache,
    )


def token_requests(mock: responses.RequestsMock) -> list[dict[str, str]]:
    return [
        {name: value[0] for name, value in parse_qs(str(call.request.body)).items()}
        for call in mock.calls
        if call.request.method == "POST"
    ]


def test_a_secret_is_sent_to_the_tenants_token_endpoint_alone(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)

    token = source().token()

    assert token.reveal() == f"{TOKEN}-1"
    assert token.expires_in == 3599
    sent = token_requests(microsoft)[0]
    assert sent["client_id"] == CLIENT_ID
    assert sent["client_secret"] == SECRET
    assert sent["grant_type"] == "client_credentials"
    assert sent["scope"] == "https://graph.microsoft.com/.default"
    assert [call.request.url for call in microsoft.calls] == [
        CONFIGURATION_URL,
        TOKEN_URL,
    ]


def test_a_certificate_is_proved_by_a_signed_assertion(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)
    credential = CertificateCredential(private_key_pem=PEM, certificate_pem=CERTIFICATE)

    token = app_only_token(PUBLIC, TENANT, CLIENT_ID, credential, session=session_for())

    assert token.reveal() == f"{TOKEN}-1"
    sent = token_requests(microsoft)[0]
    assert "client_secret" not in sent
    assertion = sent["client_assertion"]
    assert jwt.get_unverified_header(assertion)["alg"] == "PS256"
    claims = jwt.decode(
        assertion, KEY.public_key(), algorithms=["PS256"], audience=TOKEN_URL
    )
    assert claims["iss"] == claims["sub"] == CLIENT_ID


def test_an_encrypted_key_signs_the_assertion(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)
    encrypted = KEY.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    ).decode()
    credential = CertificateCredential(
        private_key_pem=encrypted, certificate_pem=CERTIFICATE, passphrase="open sesame"
    )

    app_only_token(PUBLIC, TENANT, CLIENT_ID, credential, session=session_for())

    assertion = token_requests(microsoft)[0]["client_assertion"]
    assert jwt.decode(
        assertion, KEY.public_key(), algorithms=["PS256"], audience=TOKEN_URL
    )


def test_a_token_is_used_again_while_it_lives(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)
    tokens = source()

    values = {tokens.token().reveal() for _ in range(3)}

    assert values == {f"{TOKEN}-1"}
    assert len(token_requests(microsoft)) == 1


def test_a_fresh_token_is_fetched_past_every_cache(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft, 1)
    grant(microsoft, 2)
    tokens = source()
    tokens.token()

    assert tokens.token(fresh=True).reveal() == f"{TOKEN}-2"
    assert tokens.token().reveal() == f"{TOKEN}-2"


def test_a_token_about_to_expire_is_replaced(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft, 1, expires_in=299)
    grant(microsoft, 2)
    tokens = source()

    assert tokens.token().reveal() == f"{TOKEN}-1"
    assert tokens.token().reveal() == f"{TOKEN}-2"


def test_a_shared_cache_serves_a_second_source_with_the_same_secret(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)
    cache = TokenCache()

    source(cache=cache).token()
    source(cache=cache).token()

    assert len(token_requests(microsoft)) == 1


def test_a_shared_cache_never_serves_another_secret(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft, 1)
    microsoft.post(
        TOKEN_URL, status=401, json=sign_in_failure(7000215, "invalid_client")
    )
    cache = TokenCache()
    source(cache=cache).token()

    with pytest.raises(errors.CredentialsRefused):
        source("a wrong one", cache=cache).token()


def test_a_claims_challenge_is_passed_on_past_the_cache(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft, 1)
    grant(microsoft, 2)
    tokens = source()
    tokens.token()
    challenge = '{"access_token":{"nbf":{"essential":true,"value":"1635527790"}}}'

    assert tokens.token(claims=challenge).reveal() == f"{TOKEN}-2"

    claims = json.loads(token_requests(microsoft)[1]["claims"])
    assert claims["access_token"]["nbf"]["value"] == "1635527790"


@pytest.mark.parametrize(
    ("status", "number", "error", "expected"),
    [
        (401, 7000215, "invalid_client", errors.CredentialsRefused),
        (401, 7000222, "invalid_client", errors.CredentialsRefused),
        (401, 7000229, "invalid_client", errors.ApplicationRemoved),
        (400, 700016, "unauthorized_client", errors.ApplicationNotFound),
        (400, 7000112, "unauthorized_client", errors.ApplicationDisabled),
        (400, 53003, "invalid_grant", errors.ConditionalAccessBlocked),
        (400, 90002, "invalid_request", errors.TenantNotFound),
        (400, 70011, "invalid_scope", errors.SignInRefused),
    ],
)
def test_each_refusal_of_a_token_has_its_error(
    microsoft: responses.RequestsMock,
    status: int,
    number: int,
    error: str,
    expected: type[errors.IdentityError],
) -> None:
    microsoft.post(TOKEN_URL, status=status, json=sign_in_failure(number, error))

    with pytest.raises(expected) as caught:
        source().token()

    assert caught.value.code == f"AADSTS{number}"
    assert SECRET not in caught.value.sentences()


def test_a_tenant_that_is_gone_is_named_before_any_secret_is_sent() -> None:
    with responses.RequestsMock() as mock:
        mock.get(
            CONFIGURATION_URL,
            status=400,
            json=sign_in_failure(90002, "invalid_tenant"),
        )

        with pytest.raises(errors.TenantNotFound):
            source().token()

        assert token_requests(mock) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"token_endpoint": "https://login.microsoftonline.us/t/oauth2/v2.0/token"},
            errors.WrongCloud,
            id="government",
        ),
        pytest.param(
            {"token_endpoint": "https://evil.example/t/oauth2/v2.0/token"},
            errors.DiscoveryRefused,
            id="elsewhere",
        ),
        pytest.param({"token_endpoint": "token"}, errors.DiscoveryRefused, id="no URL"),
        pytest.param(
            {"authorization_endpoint": None}, errors.DiscoveryRefused, id="incomplete"
        ),
    ],
)
def test_no_secret_is_sent_where_a_discovery_document_misleads(
    changes: dict[str, Any], expected: type[errors.EntraError]
) -> None:
    document = {k: v for k, v in {**configuration(), **changes}.items() if v}
    with responses.RequestsMock() as mock:
        mock.get(CONFIGURATION_URL, json=document)

        with pytest.raises(expected):
            source().token()

        assert len(mock.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"token_type": "Bearer", "expires_in": 3599},
        {"token_type": "Bearer", "expires_in": 3599, "access_token": ""},
        {"token_type": "Bearer", "expires_in": 3599, "access_token": 7},
    ],
)
def test_an_answer_without_a_token_is_an_error(
    microsoft: responses.RequestsMock, answer: dict[str, Any]
) -> None:
    microsoft.post(TOKEN_URL, json=answer)

    with pytest.raises(errors.SignInResponseError):
        source().token()


def test_an_answer_that_is_cut_off_is_an_error_and_in_no_log(
    microsoft: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in (None, "urllib3", "msal"):
        caplog.set_level(logging.DEBUG, logger=logger)
    microsoft.post(
        TOKEN_URL,
        body=f'{{"access_token":"{TOKEN}',
        content_type="application/json",
    )

    with pytest.raises(errors.SignInResponseError):
        source().token()

    assert TOKEN not in caplog.text


def test_a_throttled_sign_in_service_is_unavailable(
    microsoft: responses.RequestsMock,
) -> None:
    microsoft.post(TOKEN_URL, status=429, headers={"Retry-After": "600"})

    with pytest.raises(errors.SignInUnavailable) as caught:
        source().token()

    assert caught.value.retry_after == 600


def test_a_token_is_neither_printed_nor_pickled(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)
    token = source().token()

    assert TOKEN not in repr(token)
    assert TOKEN not in f"{token} {token!s}"
    with pytest.raises(TypeError):
        pickle.dumps(token)


def test_no_log_holds_a_secret_or_token(
    microsoft: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in (None, "urllib3", "msal"):
        caplog.set_level(logging.DEBUG, logger=logger)
    grant(microsoft)

    source().token()

    assert "POST /{}/oauth2/v2.0/token 200" in caplog.text
    for canary in (SECRET, TOKEN):
        assert canary not in caplog.text


def test_a_tenant_that_is_no_id_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="tenant"):
        TokenSource(
            cloud=PUBLIC,
            tenant="organizations",
            client_id=CLIENT_ID,
            credential=ClientSecret(SECRET),
            session=session_for(),
        )


def redeem(credential: ClientSecret | None = None) -> str:
    return redeem_code(
        discovery(),
        client_id=CLIENT_ID,
        credential=credential or ClientSecret(SECRET),
        code=CODE,
        redirect_uri=RETURN,
        code_verifier="verifier",
        nonce=NONCE,
        session=session_for(),
    )


def id_token(**changes: Any) -> str:
    return SIGNER.sign({"nonce": nonce_hash(NONCE), "sub": "s", **changes})


def test_a_code_is_redeemed_with_its_verifier_for_an_id_token(
    microsoft: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    for logger in (None, "urllib3", "msal"):
        caplog.set_level(logging.DEBUG, logger=logger)
    raw = id_token()
    grant(microsoft, id_token=raw)

    assert redeem() == raw

    sent = token_requests(microsoft)[0]
    assert sent["code"] == CODE
    assert sent["code_verifier"] == "verifier"
    assert sent["redirect_uri"] == RETURN
    assert sent["grant_type"] == "authorization_code"
    assert "offline_access" not in sent["scope"]
    for canary in (SECRET, CODE, TOKEN, raw):
        assert canary not in caplog.text


@pytest.mark.parametrize("number", [54005, 70008, 501481, 700005, 9002313])
def test_a_code_that_is_used_expired_or_foreign_is_refused(
    microsoft: responses.RequestsMock, number: int
) -> None:
    microsoft.post(TOKEN_URL, status=400, json=sign_in_failure(number, "invalid_grant"))

    with pytest.raises(errors.CodeRefused) as caught:
        redeem()

    assert CODE not in caught.value.sentences()


def test_an_id_token_of_another_flow_is_refused_at_once(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft, id_token=id_token(nonce=nonce_hash("another")))

    with pytest.raises(errors.IdTokenRefused) as caught:
        redeem()

    assert caught.value.reason is IdTokenReason.NONCE


@pytest.mark.parametrize("raw", ["no token", "a.b.c", ""])
def test_an_id_token_that_cannot_be_read_is_refused(
    microsoft: responses.RequestsMock, raw: str
) -> None:
    grant(microsoft, id_token=raw)

    with pytest.raises(errors.IdTokenRefused) as caught:
        redeem()

    assert caught.value.reason is IdTokenReason.MALFORMED


def test_an_answer_without_an_id_token_is_an_error(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)

    with pytest.raises(errors.SignInResponseError):
        redeem()


def test_an_empty_secret_is_not_sent(microsoft: responses.RequestsMock) -> None:
    with pytest.raises(errors.InvalidCredential):
        redeem(ClientSecret("  "))

    assert len(microsoft.calls) == 0


def test_a_secret_and_a_key_are_not_printed() -> None:
    credential = CertificateCredential(
        private_key_pem=PEM, certificate_pem=CERTIFICATE, passphrase=SECRET
    )

    assert SECRET not in repr(ClientSecret(SECRET))
    assert SECRET not in repr(credential)
    assert "PRIVATE KEY" not in repr(credential)


def test_a_certificate_tells_its_thumbprint_and_its_end() -> None:
    credential = CertificateCredential(private_key_pem=PEM, certificate_pem=CERTIFICATE)

    assert len(bytes.fromhex(credential.thumbprint)) == 32
    assert credential.expires_at.tzinfo is not None


def test_an_encrypted_key_needs_its_passphrase() -> None:
    encrypted = KEY.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    ).decode()

    def check(passphrase: str | None) -> None:
        CertificateCredential(
            private_key_pem=encrypted,
            certificate_pem=CERTIFICATE,
            passphrase=passphrase,
        ).check()

    check("open sesame")
    for wrong in (None, "open"):
        with pytest.raises(errors.InvalidCredential):
            check(wrong)


@pytest.mark.parametrize(
    ("key", "pem", "words"),
    [
        pytest.param("no key", CERTIFICATE, "private key cannot be read", id="no key"),
        pytest.param(PEM, "no certificate", "certificate cannot be read", id="no cert"),
        pytest.param(PEM, certificate()[1], "does not belong", id="another's key"),
        pytest.param(*ec_certificate(), "not an RSA key", id="elliptic curve"),
    ],
)
def test_a_certificate_that_cannot_work_is_refused_before_it_is_used(
    key: str, pem: str, words: str
) -> None:
    with pytest.raises(errors.InvalidCredential, match=words):
        CertificateCredential(private_key_pem=key, certificate_pem=pem).check()


def test_graph_is_not_asked_for_anything_while_tokens_are_fetched(
    microsoft: responses.RequestsMock,
) -> None:
    grant(microsoft)

    source().token()

    urls = [str(call.request.url) for call in microsoft.calls]
    assert not any(url.startswith(GRAPH) for url in urls)
    assert all(url.startswith(LOGIN) for url in urls)


class Issuing:
    """Issues another token each time, with so many seconds to live."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.asked: list[tuple[bool, str | None]] = []

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        self.asked.append((fresh, claims))
        return AccessToken(f"t{len(self.asked)}", self.lifetime, just_issued=True)


def test_a_token_is_kept_while_it_has_more_than_five_minutes_to_live() -> None:
    source = Issuing(lifetime=360)
    kept = KeptTokens(source)

    first, second = kept.token(), kept.token()

    assert [first.reveal(), second.reveal()] == ["t1", "t1"]
    assert first.just_issued
    assert not second.just_issued, "it was issued for the first call"


def test_a_token_that_ends_soon_is_asked_for_each_time() -> None:
    kept = KeptTokens(Issuing(lifetime=300))

    assert [kept.token().reveal(), kept.token().reveal()] == ["t1", "t2"]


@pytest.mark.parametrize("asking", [{"fresh": True}, {"claims": "{}"}])
def test_no_kept_token_answers_a_challenge(asking: Any) -> None:
    source = Issuing(lifetime=3600)
    kept = KeptTokens(source)
    kept.token()

    assert kept.token(**asking).reveal() == "t2"
    assert source.asked[1] != source.asked[0]
    assert kept.token().reveal() == "t2", "the newer one is kept"
