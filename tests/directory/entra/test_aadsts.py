from collections import Counter

import pytest

from directory.entra import callback_error, errors
from directory.entra.aadsts import AADSTS, sign_in_error
from tests.directory.entra.fakes import sign_in_failure


@pytest.mark.parametrize(
    ("number", "error", "expected"),
    [
        (7000215, "invalid_client", errors.CredentialsRefused),
        (7000222, "invalid_client", errors.CredentialsRefused),
        (700027, "invalid_client", errors.CredentialsRefused),
        (7000218, "invalid_client", errors.CredentialsRefused),
        (700024, "invalid_client", errors.CredentialsRefused),
        (50013, "invalid_client", errors.CredentialsRefused),
        (50027, "invalid_request", errors.CredentialsRefused),
        (70021, "invalid_request", errors.CredentialsRefused),
        (700211, "invalid_client", errors.CredentialsRefused),
        (700212, "invalid_client", errors.CredentialsRefused),
        (700213, "invalid_client", errors.CredentialsRefused),
        (7002138, "invalid_client", errors.CredentialsRefused),
        (7000229, "invalid_client", errors.ApplicationRemoved),
        (65001, "invalid_grant", errors.ConsentMissing),
        (700016, "unauthorized_client", errors.ApplicationNotFound),
        (7000112, "unauthorized_client", errors.ApplicationDisabled),
        (90002, "invalid_request", errors.TenantNotFound),
        (90002, "invalid_tenant", errors.TenantNotFound),
        (900382, "invalid_request", errors.WrongCloud),
        (53003, "invalid_grant", errors.ConditionalAccessBlocked),
        (54005, "invalid_grant", errors.CodeRefused),
        (70008, "invalid_grant", errors.CodeRefused),
        (501481, "invalid_grant", errors.CodeRefused),
        (700005, "invalid_grant", errors.CodeRefused),
        (50011, "invalid_request", errors.RedirectUriRefused),
        (90094, "invalid_grant", errors.AdministratorRequired),
        (65004, "access_denied", errors.ConsentDeclined),
        (50105, "interaction_required", errors.PersonRefused),
        (50076, "interaction_required", errors.SignInInterrupted),
        (50196, "invalid_grant", errors.SignInThrottled),
        (4999999, "invalid_client", errors.SignInRefused),
    ],
)
def test_each_number_becomes_its_error_with_the_number_as_reference(
    number: int, error: str, expected: type[errors.IdentityError]
) -> None:
    body = sign_in_failure(number, error)

    found = sign_in_error(
        error=error, description=body["error_description"], numbers=[number]
    )

    assert type(found) is expected
    assert found.code == f"AADSTS{number}"
    assert found.request_id == body["trace_id"]
    assert f"AADSTS{number}" in found.sentences()


def test_an_expired_secret_is_told_from_a_wrong_one() -> None:
    expired = sign_in_error(error="invalid_client", numbers=[7000222])
    wrong = sign_in_error(error="invalid_client", numbers=[7000215])

    assert isinstance(expired, errors.CredentialsRefused)
    assert isinstance(wrong, errors.CredentialsRefused)
    assert expired.expired
    assert not wrong.expired


def test_without_a_list_the_number_is_read_from_the_description() -> None:
    found = sign_in_error(
        error="unauthorized_client", description="AADSTS700016: Application ..."
    )

    assert isinstance(found, errors.ApplicationNotFound)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("access_denied", errors.ConsentDeclined),
        ("invalid_client", errors.CredentialsRefused),
        ("temporarily_unavailable", errors.SignInUnavailable),
        ("login_required", errors.SignInInterrupted),
        ("something_new", errors.SignInRefused),
        ("", errors.SignInRefused),
    ],
)
def test_without_any_number_oauths_own_word_decides(
    error: str, expected: type[errors.IdentityError]
) -> None:
    assert type(sign_in_error(error=error)) is expected


def test_an_unknown_number_is_never_taken_for_something_known() -> None:
    found = sign_in_error(error="unauthorized_client", numbers=[4999999])

    assert type(found) is errors.SignInRefused
    assert found.code == "AADSTS4999999"
    assert not found.retryable


def test_forged_text_is_never_repeated() -> None:
    forged = "<script>alert(1)</script>\u202e AADSTS65004: call +1 555 0100"

    found = callback_error(
        {"error": "<b>access_denied</b>", "error_description": forged}
    )

    assert isinstance(found, errors.ConsentDeclined)
    for text in ("<", "script", "555", "\u202e"):
        assert text not in found.sentences()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(
            {
                "admin_consent": "True",
                "error": "consent_required",
                "error_description": "AADSTS65004: The resource owner ... denied",
            },
            errors.ConsentDeclined,
            id="v2 consent declined",
        ),
        pytest.param(
            {"admin_consent": "True", "error": "consent_required", "tenant": "x"},
            errors.ConsentDeclined,
            id="no description",
        ),
        pytest.param(
            {"error": "access_denied", "error_subcode": "cancel"},
            errors.ConsentDeclined,
            id="canceled",
        ),
        pytest.param(
            {
                "error": "permission_denied",
                "error_description": "The admin canceled the request",
            },
            errors.ConsentDeclined,
            id="v1 canceled",
        ),
        pytest.param(
            {
                "error": "access_denied",
                "error_description": "AADSTS90094: An administrator ...",
            },
            errors.AdministratorRequired,
            id="no administrator",
        ),
        pytest.param({"error": ""}, errors.SignInRefused, id="an empty error"),
    ],
)
def test_a_redirect_with_an_error_is_a_failure_whatever_else_it_says(
    parameters: dict[str, str], expected: type[errors.IdentityError]
) -> None:
    assert type(callback_error(parameters)) is expected


def test_a_redirect_without_an_error_is_none() -> None:
    assert callback_error({"admin_consent": "True", "tenant": "x"}) is None


@pytest.mark.parametrize("number", AADSTS)
def test_every_entry_says_what_happened_and_what_to_do(number: int) -> None:
    found = sign_in_error(error="invalid_request", numbers=[number])

    assert found.message.endswith(".")
    assert found.advice.endswith("."), number
    assert "!" not in found.sentences()


def test_no_sentence_names_microsofts_portal_by_a_fixed_host() -> None:
    hosts = Counter(
        word
        for meaning in AADSTS.values()
        for word in (meaning.sentence + meaning.advice).split()
        if "://" in word
    )

    assert not hosts


def test_an_error_says_what_to_do_and_names_the_reference() -> None:
    error = errors.ConsentMissing("It is missing.", code="AADSTS65001", request_id="r")

    assert error.sentences() == (
        "It is missing. Ask a Global Administrator of the tenant to grant admin "
        "consent again. Microsoft's reference: AADSTS65001, request r."
    )
    assert errors.EntraError("Alone.").sentences() == "Alone."
