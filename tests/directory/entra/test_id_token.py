"""Given a token that is wrong in one way, the console refuses it for that reason."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
import responses
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from directory.entra import (
    PUBLIC,
    IdTokenClaims,
    SigningKeys,
    errors,
    nonce_hash,
    validate_id_token,
)
from directory.entra.errors import IdTokenReason
from directory.entra.id_token import _REFUSALS, PERSONAL_TENANT
from tests.directory.entra.fakes import (
    CLIENT_ID,
    KEYS_URL,
    LOGIN,
    NOW,
    OTHER_TENANT,
    PERSON,
    TENANT,
    Signer,
    discovery,
    session_for,
)

NONCE = "the-console-keeps-this"
SIGNER = Signer()
SECOND = Signer("key-two")


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves a claim out."""
    issued = int(NOW.timestamp()) - 10
    good: dict[str, Any] = {
        "aud": CLIENT_ID,
        "iss": f"{LOGIN}/{TENANT}/v2.0",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 3900,
        "name": "Ada O'Brien",
        "nonce": nonce_hash(NONCE),
        "oid": PERSON,
        "preferred_username": "ada@fernhill.example",
        "sid": "session-1",
        "sub": "pairwise-subject",
        "tid": TENANT,
        "uti": "opaque",
        "ver": "2.0",
    }
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


def keys(*jwks: dict[str, Any]) -> SigningKeys:
    responses.get(KEYS_URL, json={"keys": list(jwks or [SIGNER.jwk()])})
    return SigningKeys(discovery(), session_for())


def validate(
    raw: str, *, jwks: SigningKeys | None = None, expected_tenant: str | None = TENANT
) -> IdTokenClaims:
    return validate_id_token(
        raw,
        cloud=PUBLIC,
        client_id=CLIENT_ID,
        nonce=NONCE,
        jwks=jwks or keys(),
        now=NOW,
        expected_tenant=expected_tenant,
    )


def refusal(raw: str, **options: Any) -> IdTokenReason:
    with pytest.raises(errors.IdTokenRefused) as caught:
        validate(raw, **options)
    assert not raw or raw not in caught.value.sentences()
    return caught.value.reason


@responses.activate
def test_a_good_token_proves_tenant_and_object_id() -> None:
    proven = validate(SIGNER.sign(claims(auth_time=int(NOW.timestamp()) - 60)))

    assert (proven.tenant_id, proven.object_id) == (TENANT, PERSON)
    assert proven.subject == "pairwise-subject"
    assert proven.name == "Ada O'Brien"
    assert proven.preferred_username == "ada@fernhill.example"
    assert proven.session_id == "session-1"
    assert proven.issued_at == NOW - timedelta(seconds=10)
    assert proven.authenticated_at == NOW - timedelta(seconds=60)
    assert not proven.looks_like_guest


@responses.activate
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"aud": OTHER_TENANT}, IdTokenReason.AUDIENCE, id="other client"),
        pytest.param({"aud": [CLIENT_ID]}, IdTokenReason.AUDIENCE, id="aud is a list"),
        pytest.param(
            {"aud": [CLIENT_ID, OTHER_TENANT]},
            IdTokenReason.AUDIENCE,
            id="aud lists two",
        ),
        pytest.param({"aud": None}, IdTokenReason.AUDIENCE, id="no aud"),
        pytest.param(
            {"aud": "00000003-0000-0000-c000-000000000000", "scp": "User.Read"},
            IdTokenReason.NOT_AN_ID_TOKEN,
            id="access token for Graph",
        ),
        pytest.param(
            {"scp": "access_as_user"},
            IdTokenReason.NOT_AN_ID_TOKEN,
            id="access token for the client itself",
        ),
        pytest.param(
            {"idtyp": "app"}, IdTokenReason.NOT_AN_ID_TOKEN, id="app-only access token"
        ),
        pytest.param(
            {"azp": OTHER_TENANT}, IdTokenReason.AUTHORIZED_PARTY, id="azp of another"
        ),
        pytest.param(
            {"iss": f"{LOGIN}/{OTHER_TENANT}/v2.0"},
            IdTokenReason.ISSUER,
            id="issuer of another tenant",
        ),
        pytest.param(
            {"tid": OTHER_TENANT}, IdTokenReason.ISSUER, id="tid of another tenant"
        ),
        pytest.param(
            {"tid": OTHER_TENANT, "iss": f"{LOGIN}/{OTHER_TENANT}/v2.0"},
            IdTokenReason.OTHER_TENANT,
            id="another tenant altogether",
        ),
        pytest.param({"tid": None}, IdTokenReason.TENANT_MISSING, id="no tid"),
        pytest.param(
            {"tid": "fernhill.example"}, IdTokenReason.TENANT_MISSING, id="name"
        ),
        pytest.param(
            {"tid": PERSONAL_TENANT, "iss": f"{LOGIN}/{PERSONAL_TENANT}/v2.0"},
            IdTokenReason.PERSONAL_ACCOUNT,
            id="personal account",
        ),
        pytest.param(
            {
                "tid": PERSONAL_TENANT.upper(),
                "iss": f"{LOGIN}/{PERSONAL_TENANT.upper()}/v2.0",
            },
            IdTokenReason.PERSONAL_ACCOUNT,
            id="personal account in upper case",
        ),
        pytest.param(
            {"iss": f"https://sts.windows.net/{TENANT}/"},
            IdTokenReason.ISSUER,
            id="v1 issuer",
        ),
        pytest.param(
            {"iss": f"{LOGIN}/{{tenantid}}/v2.0"}, IdTokenReason.ISSUER, id="template"
        ),
        pytest.param(
            {"iss": f"{LOGIN}/{TENANT}/v2.0/"}, IdTokenReason.ISSUER, id="a slash more"
        ),
        pytest.param({"iss": None}, IdTokenReason.ISSUER, id="no issuer"),
        pytest.param({"ver": "1.0"}, IdTokenReason.VERSION, id="version 1"),
        pytest.param({"ver": None}, IdTokenReason.VERSION, id="no version"),
        pytest.param({"nonce": None}, IdTokenReason.NONCE, id="no nonce"),
        pytest.param(
            {"nonce": nonce_hash("another flow")}, IdTokenReason.NONCE, id="other flow"
        ),
        pytest.param({"nonce": NONCE}, IdTokenReason.NONCE, id="nonce not hashed"),
        pytest.param({"nonce": 7}, IdTokenReason.NONCE, id="nonce is no text"),
        pytest.param({"nonce": "é"}, IdTokenReason.NONCE, id="nonce outside ASCII"),
        pytest.param({"oid": None}, IdTokenReason.SUBJECT, id="no oid"),
        pytest.param(
            {"oid": "ada@fernhill.example"}, IdTokenReason.SUBJECT, id="oid is a name"
        ),
        pytest.param({"sub": None}, IdTokenReason.SUBJECT, id="no sub"),
        pytest.param({"exp": None}, IdTokenReason.MALFORMED, id="no exp"),
        pytest.param({"exp": "tomorrow"}, IdTokenReason.MALFORMED, id="exp is text"),
        pytest.param({"exp": True}, IdTokenReason.MALFORMED, id="exp is true"),
        pytest.param({"exp": 1e300}, IdTokenReason.MALFORMED, id="exp beyond all time"),
        pytest.param({"iat": None}, IdTokenReason.MALFORMED, id="no iat"),
        pytest.param({"nbf": "now"}, IdTokenReason.MALFORMED, id="nbf is text"),
    ],
)
def test_a_token_that_is_wrong_in_one_way_is_refused_for_it(
    changes: dict[str, Any], reason: IdTokenReason
) -> None:
    assert refusal(SIGNER.sign(claims(**changes))) is reason


@responses.activate
@pytest.mark.parametrize(
    ("claim", "seconds", "reason"),
    [
        ("exp", -119, None),
        ("exp", -120, IdTokenReason.EXPIRED),
        ("exp", -121, IdTokenReason.EXPIRED),
        ("nbf", 119, None),
        ("nbf", 120, None),
        ("nbf", 121, IdTokenReason.NOT_YET_VALID),
        ("iat", 119, None),
        ("iat", 120, None),
        ("iat", 121, IdTokenReason.ISSUED_AT),
        ("iat", 86400, IdTokenReason.ISSUED_AT),
        ("iat", -3600 - 119, None),
        ("iat", -3600 - 120, IdTokenReason.ISSUED_AT),
        ("iat", -86400, IdTokenReason.ISSUED_AT),
    ],
)
def test_clocks_may_differ_by_two_minutes_and_not_by_more(
    claim: str, seconds: int, reason: IdTokenReason | None
) -> None:
    raw = SIGNER.sign(claims(**{claim: int(NOW.timestamp()) + seconds}))

    if reason is None:
        assert validate(raw).object_id == PERSON
    else:
        assert refusal(raw) is reason


@responses.activate
def test_a_token_without_nbf_is_accepted() -> None:
    assert validate(SIGNER.sign(claims(nbf=None))).object_id == PERSON


@responses.activate
def test_a_tenant_in_upper_case_is_the_same_tenant() -> None:
    raw = SIGNER.sign(claims(tid=TENANT.upper(), oid=PERSON.upper()))

    proven = validate(raw, expected_tenant=TENANT.upper())

    assert (proven.tenant_id, proven.object_id) == (TENANT, PERSON)


@responses.activate
def test_a_name_is_a_text_that_can_be_kept() -> None:
    """JSON can hold NUL and halves of characters; databases cannot."""
    raw = SIGNER.sign(claims(name="A\x00da\ud800", preferred_username="\x00"))

    proven = validate(raw)

    assert (proven.name, proven.preferred_username) == ("Ada?", "")


@responses.activate
def test_any_work_tenant_is_accepted_when_none_is_expected() -> None:
    raw = SIGNER.sign(claims(tid=OTHER_TENANT, iss=f"{LOGIN}/{OTHER_TENANT}/v2.0"))

    assert validate(raw, expected_tenant=None).tenant_id == OTHER_TENANT


@responses.activate
def test_an_azp_of_the_client_itself_is_accepted() -> None:
    assert validate(SIGNER.sign(claims(azp=CLIENT_ID))).object_id == PERSON


@responses.activate
@pytest.mark.parametrize(
    "changes",
    [
        {"idp": "https://sts.windows.net/other/"},
        {"preferred_username": "ada_quarrel.example#ext#@fernhill.example"},
    ],
)
def test_a_guest_is_hinted_at(changes: dict[str, Any]) -> None:
    assert validate(SIGNER.sign(claims(**changes))).looks_like_guest


@responses.activate
def test_a22_a_token_of_the_sandbox_is_refused_by_microsofts_cloud() -> None:
    raw = SIGNER.sign(claims(iss=f"https://127.0.0.1:9443/{TENANT}/v2.0"))

    assert refusal(raw) is IdTokenReason.ISSUER


@responses.activate
def test_a28_addresses_in_a_token_are_never_asked() -> None:
    raw = SIGNER.sign(
        claims(
            _claim_names={"groups": "src1"},
            _claim_sources={"src1": {"endpoint": "https://evil.example/groups"}},
            groups=[OTHER_TENANT],
        ),
        headers={"jku": "https://evil.example/keys", "x5u": "https://evil.example/x"},
    )

    validate(raw)

    assert [call.request.url for call in responses.calls] == [KEYS_URL]


@responses.activate
def test_claims_that_are_not_texts_are_left_out() -> None:
    proven = validate(SIGNER.sign(claims(name=7, auth_time="noon")))

    assert proven.name == ""
    assert proven.authenticated_at is None


def encoded(part: object) -> str:
    raw = json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@responses.activate
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE"])
def test_an_unsigned_token_is_refused(algorithm: str) -> None:
    header = {"alg": algorithm, "typ": "JWT", "kid": SIGNER.kid}

    for signature in ("", "AAAA"):
        raw = f"{encoded(header)}.{encoded(claims())}.{signature}"
        assert refusal(raw) is IdTokenReason.ALGORITHM


@responses.activate
def test_the_public_key_used_as_a_shared_secret_is_refused() -> None:
    public = SIGNER.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "typ": "JWT", "kid": SIGNER.kid}
    signed = f"{encoded(header)}.{encoded(claims())}"
    mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    raw = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    assert refusal(raw) is IdTokenReason.ALGORITHM


@responses.activate
@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_another_algorithm_of_the_same_key_is_refused(algorithm: str) -> None:
    raw = jwt.encode(
        claims(), SIGNER.private, algorithm=algorithm, headers={"kid": SIGNER.kid}
    )

    assert refusal(raw) is IdTokenReason.ALGORITHM


@responses.activate
@pytest.mark.parametrize("headers", [{"typ": "at+jwt"}, {"typ": "logout+jwt"}])
def test_another_kind_of_token_is_refused(headers: dict[str, Any]) -> None:
    raw = SIGNER.sign(claims(), headers=headers)

    assert refusal(raw) is IdTokenReason.NOT_AN_ID_TOKEN


@responses.activate
def test_a_broken_signature_is_refused() -> None:
    head, body, signature = SIGNER.sign(claims()).split(".")
    flipped = "A" if signature[10] != "A" else "B"
    broken = f"{signature[:10]}{flipped}{signature[11:]}"

    assert refusal(f"{head}.{body}.{broken}") is IdTokenReason.SIGNATURE


@responses.activate
def test_claims_changed_after_signing_are_refused() -> None:
    head, _body, signature = SIGNER.sign(claims()).split(".")
    body = encoded(claims(oid=OTHER_TENANT))

    assert refusal(f"{head}.{body}.{signature}") is IdTokenReason.SIGNATURE


@responses.activate
def test_a_signature_by_another_key_under_a_known_id_is_refused() -> None:
    raw = SECOND.sign(claims(), headers={"kid": SIGNER.kid})

    assert refusal(raw) is IdTokenReason.SIGNATURE


@responses.activate
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw.rpartition(".")[0], id="two parts"),
        pytest.param(lambda raw: raw + ".AAAA", id="a fourth part"),
        pytest.param(lambda raw: raw + ".", id="a dot more"),
        pytest.param(
            lambda raw: SIGNER.sign(claims(), headers={"crit": ["b64"], "b64": True}),
            id="a critical extension",
        ),
        pytest.param(lambda raw: "", id="nothing"),
        pytest.param(lambda raw: "a.b.c", id="not base64 of JSON"),
        pytest.param(lambda raw: "é.é.é", id="outside ASCII"),
        pytest.param(lambda raw: "A" * 70000 + ".b.c", id="endless"),
    ],
)
def test_a_token_of_another_form_is_refused(change: Callable[[str], str]) -> None:
    assert refusal(change(SIGNER.sign(claims()))) is IdTokenReason.MALFORMED


@responses.activate
def test_signed_claims_that_are_no_object_are_refused() -> None:
    raw = jwt.api_jws.encode(
        b"[1]", SIGNER.private, algorithm="RS256", headers={"kid": SIGNER.kid}
    )

    assert refusal(raw) is IdTokenReason.MALFORMED


@responses.activate
def test_a_token_without_key_id_is_refused() -> None:
    raw = jwt.encode(claims(), SIGNER.private, algorithm="RS256")

    assert refusal(raw) is IdTokenReason.UNKNOWN_KEY


@responses.activate
def test_an_unknown_key_id_fetches_the_keys_once_more_and_no_oftener() -> None:
    jwks = keys()
    forged = SECOND.sign(claims())
    validate(SIGNER.sign(claims()), jwks=jwks)

    for _ in range(5):
        assert refusal(forged, jwks=jwks) is IdTokenReason.UNKNOWN_KEY

    assert len(responses.calls) == 2


@responses.activate
def test_a_new_key_of_microsofts_is_found() -> None:
    jwks = keys()
    validate(SIGNER.sign(claims()), jwks=jwks)
    responses.replace(
        responses.GET, KEYS_URL, json={"keys": [SIGNER.jwk(), SECOND.jwk()]}
    )

    assert validate(SECOND.sign(claims()), jwks=jwks).object_id == PERSON


@responses.activate
def test_unknown_key_ids_may_fetch_again_after_five_minutes() -> None:
    jwks = keys()
    jwks.find(SIGNER.kid, now=NOW)
    jwks.find("unknown", now=NOW)
    jwks.find("unknown", now=NOW + timedelta(seconds=299))
    assert len(responses.calls) == 2

    jwks.find("unknown", now=NOW + timedelta(seconds=300))

    assert len(responses.calls) == 3


@responses.activate
def test_keys_serve_for_a_day_without_microsoft_and_then_no_longer() -> None:
    jwks = keys()
    jwks.find(SIGNER.kid, now=NOW)
    responses.replace(responses.GET, KEYS_URL, status=503)

    assert jwks.find(SIGNER.kid, now=NOW + timedelta(hours=23, minutes=59)) is not None
    with pytest.raises(errors.SignInUnavailable):
        jwks.find(SIGNER.kid, now=NOW + timedelta(hours=24))


@responses.activate
def test_a_key_of_another_issuer_is_refused() -> None:
    jwks = keys(SIGNER.jwk(issuer=f"{LOGIN}/{OTHER_TENANT}/v2.0"))

    assert refusal(SIGNER.sign(claims()), jwks=jwks) is IdTokenReason.KEY_ISSUER


@responses.activate
@pytest.mark.parametrize("issuer", [f"{LOGIN}/{TENANT}/v2.0", None])
def test_a_key_of_the_tenant_or_without_an_issuer_is_used(issuer: str | None) -> None:
    jwks = keys(SIGNER.jwk(issuer=issuer))

    assert validate(SIGNER.sign(claims()), jwks=jwks).object_id == PERSON


@responses.activate
@pytest.mark.parametrize(
    "changes",
    [{"kty": "EC"}, {"use": "enc"}, {"kid": 7}, {"n": "!"}],
    ids=["not RSA", "for encryption", "id is no text", "unreadable"],
)
def test_keys_that_cannot_sign_id_tokens_are_passed_over(
    changes: dict[str, Any],
) -> None:
    jwks = keys(SIGNER.jwk(**changes), {"kid": "other"}, SECOND.jwk())

    assert refusal(SIGNER.sign(claims()), jwks=jwks) is IdTokenReason.UNKNOWN_KEY
    assert validate(SECOND.sign(claims()), jwks=jwks).object_id == PERSON


@responses.activate
@pytest.mark.parametrize("body", [{"keys": {}}, {}, {"keys": None}])
def test_a_key_document_of_another_shape_is_an_error(body: dict[str, Any]) -> None:
    responses.get(KEYS_URL, json=body)
    jwks = SigningKeys(discovery(), session_for())

    with pytest.raises(errors.SignInResponseError):
        jwks.find(SIGNER.kid, now=NOW)


@responses.activate
def test_a_refusal_by_the_key_endpoint_is_an_error() -> None:
    responses.get(KEYS_URL, status=404, body=b"<html>")
    jwks = SigningKeys(discovery(), session_for())

    with pytest.raises(errors.ForeignAnswer):
        jwks.find(SIGNER.kid, now=NOW)


def test_every_refusal_has_its_own_sentence_and_something_to_do() -> None:
    assert set(_REFUSALS) == set(IdTokenReason)
    assert len(set(_REFUSALS.values())) == len(IdTokenReason)
