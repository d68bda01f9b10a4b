"""Microsoft's sign-in errors in one table: number, HTTP status, OAuth's word, text.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes
Statuses and texts are those of recorded or quoted answers where there are any;
docs/sandbox-differences.md names the ones that are a guess.
"""

from typing import NamedTuple

from directory.sandbox.errors import LoginError


class _Entry(NamedTuple):
    status: int
    error: str
    text: str
    suberror: str | None = None


_NOT_CONSENTED = (
    "The user or administrator has not consented to use the application with ID "
    "'{app}' named '{app_name}'. Send an interactive authorization request for this "
    "user and resource."
)
_FEDERATED = (
    "Check your federated identity credential Subject, Audience and Issuer against "
    "the presented assertion. "
    "https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
)

TABLE: dict[int, _Entry] = {
    16000: _Entry(
        400,
        "interaction_required",
        "More than one user is signed in. Select an account.",
    ),
    50011: _Entry(
        400,
        "invalid_request",
        "The redirect URI '{uri}' specified in the request does not match the redirect "
        "URIs configured for the application '{app}'. Make sure the redirect URI sent "
        "in the request matches one added to your application in the Azure portal. "
        "Navigate to https://aka.ms/redirectUriMismatchError to learn more about how "
        "to troubleshoot this error.",
    ),
    50013: _Entry(
        401,
        "invalid_client",
        "Assertion failed signature validation. [Reason - The key was not found.]",
    ),
    50020: _Entry(
        400,
        "access_denied",
        "User account '{user}' from identity provider does not exist in tenant "
        "'{tenant}' and cannot access the application '{app}'({app_name}) in that "
        "tenant. The account needs to be added as an external user in the tenant "
        "first.",
    ),
    50027: _Entry(400, "invalid_request", "JWT token is invalid or malformed."),
    50034: _Entry(
        400,
        "invalid_grant",
        "The user account {user} does not exist in the {tenant} directory. To sign "
        "into this application, the account must be added to the directory.",
        "bad_token",
    ),
    50057: _Entry(400, "invalid_grant", "The user account is disabled."),
    50058: _Entry(
        400,
        "login_required",
        "A silent sign-in request was sent but no user is signed in.",
    ),
    50059: _Entry(
        400,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by "
        "any provided credentials.",
    ),
    50076: _Entry(
        400,
        "interaction_required",
        "Due to a configuration change made by your administrator, or because you "
        "moved to a new location, you must use multi-factor authentication to access "
        "'{resource}'.",
        "basic_action",
    ),
    50105: _Entry(
        400,
        "invalid_grant",
        "Your administrator has configured the application {app_name} ('{app}') to "
        "block users unless they are specifically granted ('assigned') access to the "
        "application. The signed in user '{user}' is blocked because they are not a "
        "direct member of a group with access, nor had access directly assigned by an "
        "administrator. Please contact your administrator to assign access to this "
        "application.",
    ),
    50126: _Entry(
        400,
        "invalid_grant",
        "Error validating credentials due to invalid username or password.",
    ),
    50194: _Entry(
        400,
        "invalid_request",
        "Application '{app}'({app_name}) is not configured as a multi-tenant "
        "application. Usage of the /common endpoint is not supported for such apps "
        "created after '10/15/2018'. Use a tenant-specific endpoint or configure the "
        "application to be multi-tenant.",
    ),
    50196: _Entry(
        400,
        "invalid_grant",
        "The server terminated an operation because it encountered a client request "
        "loop. Please contact your app vendor.",
    ),
    53000: _Entry(
        400,
        "interaction_required",
        "Device is not in required device state: Unregistered. Conditional Access "
        "policy requires a compliant device, and the device is not compliant. The user "
        "must enroll their device with an approved MDM provider like Intune.",
        "message_only",
    ),
    53001: _Entry(
        400,
        "interaction_required",
        "Device is not in required device state: Unregistered. Conditional Access "
        "policy requires a domain joined device, and the device is not domain joined.",
        "message_only",
    ),
    53003: _Entry(
        400,
        "invalid_grant",
        "Access has been blocked by Conditional Access policies. The access policy "
        "does not allow token issuance.",
        "message_only",
    ),
    54005: _Entry(
        400,
        "invalid_grant",
        "OAuth2 Authorization code was already redeemed, please retry with a new valid "
        "code or use an existing refresh token.",
    ),
    65001: _Entry(400, "invalid_grant", _NOT_CONSENTED, "consent_required"),
    65004: _Entry(
        400,
        "access_denied",
        "User declined to consent to access the app.",
    ),
    70000: _Entry(400, "invalid_grant", "Provided grant is invalid or malformed."),
    70003: _Entry(
        400,
        "unsupported_grant_type",
        "The app requested an unsupported grant type '{grant_type}'.",
    ),
    70001: _Entry(
        400,
        "unauthorized_client",
        "Application with identifier '{app}' is disabled.",
    ),
    70008: _Entry(
        400,
        "invalid_grant",
        "The provided authorization code or refresh token has expired due to "
        "inactivity. Send a new interactive authorization request for this user and "
        "resource.",
    ),
    70011: _Entry(
        400,
        "invalid_scope",
        "The provided request must include a 'scope' input parameter. The provided "
        "value for the input parameter 'scope' is not valid. The scope {scope} is not "
        "valid.",
    ),
    70021: _Entry(
        400,
        "invalid_request",
        "No matching federated identity record found for presented assertion. "
        "Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion "
        "Audience: '{audience}'.",
    ),
    90002: _Entry(
        400,
        "invalid_tenant",
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant "
        "ID and are signing into the correct cloud. Check with your subscription "
        "administrator, this may happen if there are no active subscriptions for the "
        "tenant.",
    ),
    90014: _Entry(
        400,
        "invalid_request",
        "The required field '{parameter}' is missing from the credential. Ensure that "
        "you have all the necessary parameters for the login request.",
    ),
    90023: _Entry(400, "invalid_request", "Unsupported 'prompt' value '{prompt}'."),
    90033: _Entry(
        503,
        "temporarily_unavailable",
        "A transient error has occurred. Please try again.",
    ),
    90055: _Entry(
        429,
        "temporarily_unavailable",
        "The server is terminating the operation because of too many incoming "
        "requests for this tenant.",
    ),
    90094: _Entry(
        400,
        "access_denied",
        "An administrator of {tenant} has set a policy that prevents you from granting "
        "{app_name} the permissions it is requesting. Contact an administrator of "
        "{tenant}, who can grant permissions to this app on your behalf.",
    ),
    165000: _Entry(
        400,
        "invalid_request",
        "This sign-in has ended or belongs to another browser. Go back to the "
        "application and start again.",
    ),
    500011: _Entry(
        400,
        "invalid_resource",
        "The resource principal named {resource} was not found in the tenant named "
        "{tenant}.",
    ),
    500112: _Entry(
        400,
        "invalid_client",
        "The reply address '{given}' does not match the reply address '{expected}' "
        "provided when requesting Authorization code.",
    ),
    500200: _Entry(
        400,
        "access_denied",
        "User account '{user}' is a personal Microsoft account. Personal Microsoft "
        "accounts are not supported for this application unless explicitly invited to "
        "an organization. Try signing out and signing back in with an organizational "
        "account.",
    ),
    501481: _Entry(
        400,
        "invalid_grant",
        "The Code_Verifier does not match the code_challenge supplied in the "
        "authorization request.",
    ),
    700005: _Entry(
        400,
        "invalid_grant",
        "Provided Authorization Code is intended to use against other tenant, thus "
        "rejected.",
    ),
    700016: _Entry(
        400,
        "unauthorized_client",
        "Application with identifier '{app}' was not found in the directory "
        "'{tenant}'. This can happen if the application has not been installed by the "
        "administrator of the tenant or consented to by any user in the tenant. You "
        "may have sent your authentication request to the wrong tenant.",
    ),
    700021: _Entry(
        401,
        "invalid_client",
        "Client assertion application identifier doesn't match 'client_id' parameter.",
    ),
    700023: _Entry(
        401,
        "invalid_client",
        "Client assertion audience claim does not match Realm issuer.",
    ),
    700024: _Entry(
        401,
        "invalid_client",
        "Client assertion is not within its valid time range.",
    ),
    700027: _Entry(
        401,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not "
        "registered on application. [Reason - {reason}, Client application '{app}'.]",
    ),
    700054: _Entry(
        400,
        "unsupported_response_type",
        "response_type '{response_type}' is not enabled for the application.",
    ),
    700082: _Entry(
        400,
        "invalid_grant",
        "The refresh token has expired due to inactivity.",
    ),
    700211: _Entry(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion issuer "
        "'{issuer}'. " + _FEDERATED,
    ),
    700212: _Entry(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion audience "
        "'{audience}'. " + _FEDERATED,
    ),
    700213: _Entry(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject "
        "'{subject}'. " + _FEDERATED,
    ),
    900144: _Entry(
        400,
        "invalid_request",
        "The request body must contain the following parameter: '{parameter}'.",
    ),
    900382: _Entry(
        400,
        "invalid_request",
        "Confidential Client is not supported in Cross Cloud request.",
    ),
    900561: _Entry(
        400,
        "invalid_request",
        "The endpoint only accepts POST requests. Received a {method} request.",
    ),
    7000112: _Entry(
        400,
        "unauthorized_client",
        "Application '{app}'({app_name}) is disabled.",
    ),
    7000215: _Entry(
        401,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request "
        "is the client secret value, not the client secret ID, for a secret added to "
        "app '{app}'.",
    ),
    7000218: _Entry(
        401,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or "
        "'client_secret'.",
    ),
    7000222: _Entry(
        401,
        "invalid_client",
        "The provided client secret keys for app '{app}' are expired. Visit the Azure "
        "portal to create new keys for your app: https://aka.ms/NewClientSecret, or "
        "consider using certificate credentials for added security: "
        "https://aka.ms/certCreds.",
    ),
    7000229: _Entry(
        401,
        "invalid_client",
        "The client application {app} is missing service principal in the tenant "
        "{tenant}. See instructions here: "
        "https://go.microsoft.com/fwlink/?linkid=2225119",
    ),
    7002138: _Entry(
        401,
        "invalid_client",
        "No matching federated identity record found for presented assertion subject "
        "'{subject}'. The subject matches with case-insensitive comparison, but not "
        "with case-sensitive comparison. " + _FEDERATED,
    ),
    9002313: _Entry(
        400,
        "invalid_request",
        "Invalid request. Request is malformed or invalid.{detail}",
    ),
}


class _Blank(dict[str, str]):
    """A value that nobody gave is empty in the text."""

    def __missing__(self, key: str) -> str:
        return ""


def aadsts(
    number: int, *, error: str = "", claims: str = "", **values: str
) -> LoginError:
    """Make the error of a number; ``values`` go into its text.

    ``error`` is OAuth's word where it depends on the endpoint.
    """
    entry = TABLE[number]
    return LoginError(
        number,
        error or entry.error,
        entry.text.format_map(_Blank(values)),
        status=entry.status,
        suberror=entry.suberror,
        claims=claims,
    )
