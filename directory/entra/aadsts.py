"""Microsoft's sign-in error numbers, in one table, and what each means here.

Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
A number that is not in the table is a refusal like any other: stop, change
nothing, show the number. No decision is made on the text of an answer.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from directory.entra import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a number means: the error it becomes and the sentences people read."""

    error: type[errors.IdentityError]
    sentence: str
    advice: str = ""


_CONSENT = "Ask a Global Administrator of the tenant to grant admin consent again."
_CREDENTIAL = "Add a valid secret or certificate under Settings > Entra ID application."
_FEDERATED = (
    "Compare issuer, subject and audience under Settings > Entra ID application with "
    "the federated credential of the registration, letter by letter."
)
_RESTART = "Nothing was saved. Start again."
_REGISTRATION = (
    "Compare the application (client) ID in the Entra ID application settings with "
    "the registration in Microsoft's portal, and check that the cloud is the right one."
)

AADSTS: Mapping[int, Meaning] = MappingProxyType(
    {
        50011: Meaning(
            error=errors.RedirectUriRefused,
            sentence="The redirect URI is not listed in the application registration.",
            advice="Copy the redirect URIs from the Entra ID application settings "
            "into the registration, letter by letter.",
        ),
        50013: Meaning(
            error=errors.CredentialsRefused,
            sentence="The signature of the application's assertion was not accepted.",
            advice="Look whether the issuer of the assertion publishes its keys, and "
            "whether it changed them.",
        ),
        50020: Meaning(
            error=errors.PersonRefused,
            sentence="This account does not belong to the tenant.",
            advice="Sign in with an account of the tenant.",
        ),
        50027: Meaning(
            error=errors.CredentialsRefused,
            sentence="Microsoft could not read the assertion of the application.",
            advice=_CREDENTIAL,
        ),
        50034: Meaning(
            error=errors.PersonRefused,
            sentence="This account does not exist in the tenant.",
            advice="Check the user name, and sign in with an account of the tenant.",
        ),
        50053: Meaning(
            error=errors.PersonRefused,
            sentence="Microsoft has locked this account after failed sign-ins.",
            advice="Wait, or ask an administrator of the tenant to unlock it.",
        ),
        50055: Meaning(
            error=errors.SignInInterrupted,
            sentence="The password of this account has expired.",
        ),
        50057: Meaning(
            error=errors.PersonRefused,
            sentence="This account is disabled in the tenant.",
            advice="Ask an administrator of the tenant to enable it.",
        ),
        50058: Meaning(
            error=errors.SignInInterrupted,
            sentence="Nobody is signed in with Microsoft in this browser.",
        ),
        50059: Meaning(
            error=errors.TenantNotFound,
            sentence="Microsoft could not tell which tenant is meant.",
            advice="Enter the tenant ID or a verified domain of the tenant.",
        ),
        50076: Meaning(
            error=errors.SignInInterrupted,
            sentence="The tenant requires multifactor authentication.",
        ),
        50079: Meaning(
            error=errors.SignInInterrupted,
            sentence="The tenant requires this account to set up multifactor "
            "authentication.",
        ),
        50097: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="The tenant requires a device that it knows.",
            advice="Sign in from a managed device.",
        ),
        50105: Meaning(
            error=errors.PersonRefused,
            sentence="This account is not assigned to the application.",
            advice="Ask an administrator of the tenant to assign the account to the "
            "enterprise application.",
        ),
        50126: Meaning(
            error=errors.PersonRefused,
            sentence="The user name or the password is wrong.",
            advice="Sign in again.",
        ),
        50128: Meaning(
            error=errors.TenantNotFound,
            sentence="No tenant with this domain exists in this cloud.",
            advice="Check the domain, and check that the cloud is the right one.",
        ),
        50196: Meaning(
            error=errors.SignInThrottled,
            sentence="Microsoft stopped answering because the same request came too "
            "often.",
            advice="Wait some minutes. Nothing was changed.",
        ),
        53000: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="A Conditional Access policy requires a compliant device.",
            advice="Sign in from a compliant device.",
        ),
        53003: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="A Conditional Access policy of the tenant blocks the sign-in.",
            advice="Ask an administrator of the tenant to look at the sign-in logs "
            "and to except this application or its address from the policy.",
        ),
        54005: Meaning(
            error=errors.CodeRefused,
            sentence="The authorization code was already used.",
            advice=_RESTART,
        ),
        65001: Meaning(
            error=errors.ConsentMissing,
            sentence="The permissions have not been consented to in the tenant.",
            advice=_CONSENT,
        ),
        65004: Meaning(
            error=errors.ConsentDeclined,
            sentence="The permissions were declined on Microsoft's page.",
            advice="Nothing was saved. Start again when they can be accepted.",
        ),
        70000: Meaning(
            error=errors.CodeRefused,
            sentence="The authorization code is not valid.",
            advice=_RESTART,
        ),
        70001: Meaning(
            error=errors.ApplicationDisabled,
            sentence="The application is not available in the tenant.",
            advice="Ask an administrator of the tenant to look at the enterprise "
            "application.",
        ),
        70008: Meaning(
            error=errors.CodeRefused,
            sentence="The authorization code has expired.",
            advice=_RESTART,
        ),
        70021: Meaning(
            error=errors.CredentialsRefused,
            sentence="The registration has no federated credential for this assertion.",
            advice=_FEDERATED,
        ),
        70011: Meaning(
            error=errors.SignInRefused,
            sentence="Microsoft does not know the requested scope.",
            advice="Check that the cloud is the right one.",
        ),
        75011: Meaning(
            error=errors.SignInInterrupted,
            sentence="The way of signing in does not match what was asked for.",
        ),
        90002: Meaning(
            error=errors.TenantNotFound,
            sentence="No tenant with this ID or domain exists in this cloud.",
            advice="Check the tenant ID, and check that the cloud is the right one.",
        ),
        90008: Meaning(
            error=errors.ConsentMissing,
            sentence="The application may not use Microsoft Graph in this tenant.",
            advice=_CONSENT,
        ),
        90033: Meaning(
            error=errors.SignInUnavailable,
            sentence="Microsoft's sign-in service has a temporary fault.",
        ),
        90055: Meaning(
            error=errors.SignInThrottled,
            sentence="Microsoft throttles sign-ins to this tenant.",
        ),
        90072: Meaning(
            error=errors.PersonRefused,
            sentence="This account does not exist in the tenant and cannot be used "
            "there.",
            advice="Sign in with an account of the tenant, or have it added as a "
            "guest.",
        ),
        90093: Meaning(
            error=errors.AdministratorRequired,
            sentence="The account may not grant these permissions.",
            advice="Sign in as a Global Administrator of the tenant.",
        ),
        90094: Meaning(
            error=errors.AdministratorRequired,
            sentence="Granting these permissions needs an administrator.",
            advice="Sign in as a Global Administrator of the tenant.",
        ),
        165000: Meaning(
            error=errors.CodeRefused,
            sentence="Microsoft's page was not finished in the browser it began in.",
            advice=_RESTART,
        ),
        500011: Meaning(
            error=errors.ConsentMissing,
            sentence="Microsoft Graph is not known in this tenant by this name.",
            advice="Check that the cloud is the right one.",
        ),
        500021: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="Tenant restrictions block the sign-in.",
            advice="Ask the administrator of the network or of the home tenant.",
        ),
        501051: Meaning(
            error=errors.PersonRefused,
            sentence="The application is not assigned to anybody in the tenant.",
            advice="Ask an administrator of the tenant to assign the enterprise "
            "application.",
        ),
        501481: Meaning(
            error=errors.CodeRefused,
            sentence="The authorization code belongs to another sign-in.",
            advice=_RESTART,
        ),
        530003: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="A Conditional Access policy requires a managed device.",
            advice="Sign in from a managed device.",
        ),
        650051: Meaning(
            error=errors.ApplicationRemoved,
            sentence="The enterprise application could not be added to the tenant.",
            advice=_CONSENT,
        ),
        650052: Meaning(
            error=errors.ConsentMissing,
            sentence="The tenant has no access to a service the application needs.",
            advice=_CONSENT,
        ),
        650056: Meaning(
            error=errors.ApplicationNotFound,
            sentence="The application registration lacks the requested permissions.",
            advice="Add User.Read, User.Read.All and GroupMember.Read.All to the "
            "registration.",
        ),
        650057: Meaning(
            error=errors.ApplicationNotFound,
            sentence="The application registration does not list Microsoft Graph.",
            advice="Add User.Read, User.Read.All and GroupMember.Read.All to the "
            "registration.",
        ),
        700003: Meaning(
            error=errors.ConditionalAccessBlocked,
            sentence="The device is no longer known to the tenant.",
            advice="Sign in from a device that is registered with the tenant.",
        ),
        700005: Meaning(
            error=errors.CodeRefused,
            sentence="The authorization code was issued for another tenant.",
            advice=_RESTART,
        ),
        700016: Meaning(
            error=errors.ApplicationNotFound,
            sentence="The application is not known in this tenant.",
            advice=_REGISTRATION,
        ),
        700021: Meaning(
            error=errors.CredentialsRefused,
            sentence="The assertion of the application names another application.",
            advice=_CREDENTIAL,
        ),
        700023: Meaning(
            error=errors.CredentialsRefused,
            sentence="The assertion of the application is for another audience.",
            advice=_FEDERATED,
        ),
        700024: Meaning(
            error=errors.CredentialsRefused,
            sentence="The assertion of the application is outside its times.",
            advice="Check the clock of this server, and that the platform refreshes "
            "the file with a federated assertion.",
        ),
        700027: Meaning(
            error=errors.CredentialsRefused,
            sentence="The certificate of the application was refused.",
            advice="Check that this certificate is uploaded to the registration and "
            "has not expired. " + _CREDENTIAL,
        ),
        700082: Meaning(
            error=errors.CodeRefused,
            sentence="The sign-in is too old.",
            advice=_RESTART,
        ),
        700054: Meaning(
            error=errors.SignInRefused,
            sentence="The registration does not allow this kind of answer.",
            advice=_REGISTRATION,
        ),
        700211: Meaning(
            error=errors.CredentialsRefused,
            sentence="The registration has no federated credential for this issuer.",
            advice=_FEDERATED,
        ),
        700212: Meaning(
            error=errors.CredentialsRefused,
            sentence="The registration has no federated credential for this audience.",
            advice=_FEDERATED,
        ),
        700213: Meaning(
            error=errors.CredentialsRefused,
            sentence="The registration has no federated credential for this subject.",
            advice=_FEDERATED,
        ),
        900023: Meaning(
            error=errors.TenantNotFound,
            sentence="This is neither a tenant ID nor a domain name.",
            advice="Enter the tenant ID or a verified domain of the tenant.",
        ),
        900382: Meaning(
            error=errors.WrongCloud,
            sentence="The tenant belongs to another Microsoft cloud.",
            advice="Choose the cloud of the tenant, and start again.",
        ),
        7000112: Meaning(
            error=errors.ApplicationDisabled,
            sentence="The application is disabled.",
            advice="Enable sign-in for the enterprise application in the tenant, or "
            "ask who owns the registration.",
        ),
        7002138: Meaning(
            error=errors.CredentialsRefused,
            sentence="The subject of the federated credential differs in upper and "
            "lower case.",
            advice=_FEDERATED,
        ),
        7000215: Meaning(
            error=errors.CredentialsRefused,
            sentence="The client secret of the application is wrong.",
            advice="Enter the secret's value, not its ID. " + _CREDENTIAL,
        ),
        7000216: Meaning(
            error=errors.CredentialsRefused,
            sentence="The application sent no secret or certificate.",
            advice=_CREDENTIAL,
        ),
        7000218: Meaning(
            error=errors.CredentialsRefused,
            sentence="The application sent no secret or certificate.",
            advice=_CREDENTIAL,
        ),
        7000222: Meaning(
            error=errors.CredentialsRefused,
            sentence="The client secret of the application has expired.",
            advice=_CREDENTIAL,
        ),
        7000229: Meaning(
            error=errors.ApplicationRemoved,
            sentence="The enterprise application is missing in the tenant.",
            advice=_CONSENT,
        ),
        9002313: Meaning(
            error=errors.CodeRefused,
            sentence="Microsoft could not read the request.",
            advice=_RESTART,
        ),
        9002325: Meaning(
            error=errors.CodeRefused,
            sentence="Microsoft requires a proof key (PKCE) for this sign-in.",
            advice=_RESTART,
        ),
    }
)

_EXPIRED = frozenset({7000222})

# OAuth's own words, for answers without a number that the table knows.
# https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1
_OAUTH: Mapping[str, Meaning] = MappingProxyType(
    {
        "access_denied": AADSTS[65004],
        "permission_denied": AADSTS[65004],
        "consent_required": AADSTS[65001],
        "invalid_tenant": AADSTS[90002],
        "login_required": AADSTS[50058],
        "interaction_required": Meaning(
            error=errors.SignInInterrupted,
            sentence="Microsoft needs another step from the person who signs in.",
        ),
        "temporarily_unavailable": AADSTS[90033],
        "server_error": AADSTS[90033],
        "invalid_client": Meaning(
            error=errors.CredentialsRefused,
            sentence="Microsoft refused the application's secret or certificate.",
            advice=_CREDENTIAL,
        ),
        "unauthorized_client": AADSTS[700016],
    }
)


def means_expired(code: str) -> bool:
    """Tell whether a refusal's code says that the credential has expired."""
    return code in {f"AADSTS{number}" for number in _EXPIRED}


_NUMBER = re.compile(r"\bAADSTS(\d{4,8})\b")
_TRACE = re.compile(r"\bTrace ID: ([0-9a-fA-F-]{36})\b")
_OAUTH_NAME = re.compile(r"[a-z_]{1,40}")


def numbers_in(text: str) -> list[int]:
    """Return the AADSTS numbers that an error description names, in order."""
    return [int(number) for number in _NUMBER.findall(text)]


def sign_in_error(
    *,
    error: str,
    description: str = "",
    numbers: Iterable[int] = (),
    status: int | None = None,
    trace_id: str = "",
) -> errors.IdentityError:
    """Build the error for an answer of Microsoft's sign-in service.

    `numbers` are the answer's `error_codes`; without them they are read from the
    description. The description itself is never shown: it can be forged in a
    redirect, and it names things that do not belong in a log.
    """
    found = [*numbers] or numbers_in(description)
    if not trace_id and (match := _TRACE.search(description)):
        trace_id = match.group(1)
    known = next((number for number in found if number in AADSTS), None)
    name = error if _OAUTH_NAME.fullmatch(error) else "unknown_error"
    meaning = AADSTS[known] if known is not None else None
    if meaning is None and not found:
        meaning = _OAUTH.get(name)
    code = f"AADSTS{found[0]}" if found else name
    if known is not None:
        code = f"AADSTS{known}"
    reference = errors.Reference(status=status, code=code, request_id=trace_id)
    if meaning is None:
        return errors.SignInRefused(
            "Microsoft refused the sign-in for a reason the console does not know.",
            **reference,
        )
    reference["advice"] = meaning.advice
    if meaning.error is errors.CredentialsRefused:
        return errors.CredentialsRefused(
            meaning.sentence, expired=known in _EXPIRED, **reference
        )
    return meaning.error(meaning.sentence, **reference)


def callback_error(parameters: Mapping[str, str]) -> errors.IdentityError | None:
    """Return the error that a redirect from Microsoft carries, or None.

    The `error` parameter is looked at first and alone: an error redirect of the
    admin consent endpoint says `admin_consent=True` as well.
    https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
    """
    if "error" not in parameters:
        return None
    found = sign_in_error(
        error=parameters["error"],
        description=parameters.get("error_description", ""),
    )
    if isinstance(found, errors.ConsentMissing) and found.code == "consent_required":
        # At the consent page itself, consent that is missing was not given.
        return errors.ConsentDeclined(
            AADSTS[65004].sentence, code=found.code, request_id=found.request_id
        )
    return found
