"""What Microsoft publishes is kept with an age, and asked for at a limited rate."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
import responses

from directory.entra import (
    PUBLIC,
    US_GOV_L4,
    ClientSecret,
    SigningKeys,
    SignInMetadata,
    TokenCache,
    TokenSource,
    errors,
    nonce_hash,
    redeem_code,
)
from directory.entra.kept import Kept
from tests.directory.entra.fakes import (
    CLIENT_ID,
    CODE,
    CONFIGURATION_URL,
    KEYS_URL,
    LOGIN,
    NOW,
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

SIGNER, SECOND = Signer(), Signer("key-two")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def discovered(metadata: SignInMetadata, at: datetime, **options: Any) -> str:
    return metadata.discovery(
        PUBLIC, TENANT, session_for(), now=at, **options
    ).token_endpoint


def asked(url: str = CONFIGURATION_URL) -> int:
    return sum(call.request.url == url for call in responses.calls)


def down(url: str, **answer: Any) -> None:
    responses.remove(responses.GET, url)
    responses.get(url, **(answer or {"status": 503}))


# Discovery


@responses.activate
def test_a_configuration_is_asked_for_once_an_hour() -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, json=configuration())

    for minutes in (0, 30, 59):
        assert discovered(metadata, NOW + minutes * MINUTE) == TOKEN_URL
    assert asked() == 1

    discovered(metadata, NOW + HOUR)
    assert asked() == 2


@responses.activate
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"status": 503}, id="503"),
        pytest.param({"status": 429, "headers": {"Retry-After": "60"}}, id="429"),
        pytest.param({"body": requests.ConnectionError("reset")}, id="reset"),
        pytest.param({"body": requests.exceptions.SSLError("tls")}, id="TLS"),
        pytest.param({"body": "<html>", "content_type": "text/html"}, id="HTML"),
        pytest.param(
            {"body": "{", "content_type": "application/json"}, id="cut off JSON"
        ),
        pytest.param({"status": 302, "headers": {"Location": LOGIN}}, id="redirect"),
    ],
)
def test_f31_a_configuration_serves_for_a_day_without_microsoft(
    answer: dict[str, Any],
) -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, json=configuration())
    discovered(metadata, NOW)
    down(CONFIGURATION_URL, **answer)

    assert discovered(metadata, NOW + 23 * HOUR + 59 * MINUTE) == TOKEN_URL
    with pytest.raises(errors.EntraError) as caught:
        discovered(metadata, NOW + 24 * HOUR)

    assert caught.value.message
    assert caught.value.advice


@responses.activate
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            {"status": 400, "json": sign_in_failure(90002, "invalid_tenant")},
            errors.TenantNotFound,
            id="tenant gone",
        ),
        pytest.param(
            {"json": configuration(root="https://login.microsoftonline.us")},
            errors.WrongCloud,
            id="another cloud",
        ),
        pytest.param(
            {"json": {**configuration(), "issuer": "https://evil.example/v2.0"}},
            errors.DiscoveryRefused,
            id="another issuer",
        ),
    ],
)
def test_a43_what_microsoft_now_says_otherwise_counts_at_once(
    answer: dict[str, Any], expected: type[errors.EntraError]
) -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, json=configuration())
    discovered(metadata, NOW)
    down(CONFIGURATION_URL, **answer)

    with pytest.raises(expected):
        discovered(metadata, NOW + HOUR)


@responses.activate
def test_f31_a_service_that_is_down_is_asked_twice_a_minute_at_most() -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, body=requests.exceptions.SSLError("tls"))

    for seconds in (0, 10, 29):
        with pytest.raises(errors.TlsRefused):
            discovered(metadata, NOW + timedelta(seconds=seconds))
    assert asked() == 1

    down(CONFIGURATION_URL, json=configuration())
    assert discovered(metadata, NOW + timedelta(seconds=30)) == TOKEN_URL


@responses.activate
def test_whoever_asks_afresh_is_not_put_off() -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, body=requests.exceptions.SSLError("tls"))
    with pytest.raises(errors.TlsRefused):
        discovered(metadata, NOW)
    down(CONFIGURATION_URL, json=configuration())

    assert discovered(metadata, NOW, afresh=True) == TOKEN_URL
    assert discovered(metadata, NOW, afresh=True) == TOKEN_URL
    assert asked() == 3


@responses.activate
def test_a_clock_that_was_set_back_keeps_nothing_for_ever() -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, json=configuration())
    discovered(metadata, NOW)

    discovered(metadata, NOW - 300 * HOUR)

    assert asked() == 2


@responses.activate
def test_a42_clouds_and_tenants_are_kept_apart() -> None:
    metadata = SignInMetadata()
    responses.get(CONFIGURATION_URL, json=configuration())
    government = "https://login.microsoftonline.us"
    responses.get(
        f"{government}/{TENANT}/v2.0/.well-known/openid-configuration",
        json=configuration(root=government),
    )

    public = metadata.discovery(PUBLIC, TENANT, session_for(), now=NOW)
    other = metadata.discovery(US_GOV_L4, TENANT, session_for(US_GOV_L4), now=NOW)

    assert public.issuer.startswith(LOGIN)
    assert other.issuer.startswith(government)


def test_the_age_of_what_is_kept_is_known() -> None:
    kept: Kept[str] = Kept()
    assert kept.age(NOW) is None

    kept.get(lambda: "value", now=NOW)

    assert kept.age(NOW + MINUTE) == MINUTE


# Keys


def keys(*signers: Signer) -> dict[str, Any]:
    return {"keys": [signer.jwk() for signer in signers]}


def find(metadata: SignInMetadata, kid: str, at: datetime) -> bool:
    found: SigningKeys = metadata.signing_keys(discovery(), session_for())
    return found.find(kid, now=at) is not None


@responses.activate
def test_keys_are_shared_by_every_sign_in() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER))

    for minutes in range(5):
        assert find(metadata, SIGNER.kid, NOW + minutes * MINUTE)

    assert asked(KEYS_URL) == 1


@responses.activate
def test_f30_a_rollover_is_found_at_the_first_token_with_the_new_key() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER))
    find(metadata, SIGNER.kid, NOW)
    down(KEYS_URL, json=keys(SIGNER, SECOND))

    assert find(metadata, SECOND.kid, NOW + MINUTE)
    assert find(metadata, SIGNER.kid, NOW + MINUTE)


@responses.activate
def test_f30_a_key_that_microsoft_withdrew_is_forgotten_within_the_hour() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER, SECOND))
    find(metadata, SIGNER.kid, NOW)
    down(KEYS_URL, json=keys(SECOND))

    assert find(metadata, SIGNER.kid, NOW + 59 * MINUTE)
    assert not find(metadata, SIGNER.kid, NOW + HOUR)


@responses.activate
def test_a11_unknown_keys_are_asked_about_every_five_minutes_at_most() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER))
    find(metadata, SIGNER.kid, NOW)

    for second in range(299):
        assert not find(metadata, f"forged-{second}", NOW + timedelta(seconds=second))
    assert asked(KEYS_URL) == 2

    find(metadata, "forged", NOW + 5 * MINUTE)
    assert asked(KEYS_URL) == 3


@responses.activate
def test_f31_known_keys_serve_for_a_day_without_microsoft() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER))
    find(metadata, SIGNER.kid, NOW)
    down(KEYS_URL)

    assert find(metadata, SIGNER.kid, NOW + 23 * HOUR)
    with pytest.raises(errors.SignInUnavailable):
        find(metadata, SIGNER.kid, NOW + 24 * HOUR)


@responses.activate
def test_f31_an_unknown_key_is_not_called_forged_while_microsoft_is_down() -> None:
    metadata = SignInMetadata()
    responses.get(KEYS_URL, json=keys(SIGNER))
    find(metadata, SIGNER.kid, NOW)
    down(KEYS_URL)

    for seconds in (60, 70):
        with pytest.raises(errors.SignInUnavailable):
            find(metadata, SECOND.kid, NOW + timedelta(seconds=seconds))
    assert find(metadata, SIGNER.kid, NOW + 2 * MINUTE)


# Tokens


def source(cache: TokenCache, at: datetime) -> TokenSource:
    return TokenSource(
        cloud=PUBLIC,
        tenant=TENANT,
        client_id=CLIENT_ID,
        credential=ClientSecret(SECRET),
        session=session_for(),
        cache=cache,
        clock=lambda: at,
    )


def grant(number: int, **more: Any) -> None:
    responses.post(
        TOKEN_URL,
        json={
            "token_type": "Bearer",
            "expires_in": 3599,
            "access_token": f"{TOKEN}-{number}",
            **more,
        },
    )


@responses.activate
def test_f31_tokens_are_had_while_discovery_is_down() -> None:
    cache = TokenCache()
    responses.get(CONFIGURATION_URL, json=configuration())
    grant(1)
    source(cache, NOW).token()
    down(CONFIGURATION_URL)

    # The one at hand, and a new one.
    assert source(cache, NOW + 2 * HOUR).token().reveal() == f"{TOKEN}-1"
    grant(2)
    assert source(cache, NOW + 2 * HOUR).token(fresh=True).reveal() == f"{TOKEN}-2"


@responses.activate
def test_token_sources_of_one_cache_ask_for_the_configuration_once() -> None:
    cache = TokenCache()
    responses.get(CONFIGURATION_URL, json=configuration())
    grant(1)

    for _ in range(3):
        source(cache, NOW).token()

    assert asked() == 1


@responses.activate
def test_a_code_is_redeemed_where_the_checked_configuration_says() -> None:
    raw = SIGNER.sign({"nonce": nonce_hash("kept"), "sub": "s"})
    grant(1, id_token=raw)

    found = redeem_code(
        discovery(),
        client_id=CLIENT_ID,
        credential=ClientSecret(SECRET),
        code=CODE,
        redirect_uri="http://localhost:8000/login/entra/callback/",
        code_verifier="verifier",
        nonce="kept",
        session=session_for(),
    )

    assert found == raw
    # MSAL asked for nothing by itself.
    assert [call.request.url for call in responses.calls] == [TOKEN_URL]
