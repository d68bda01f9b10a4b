"""What can go wrong between the console and Microsoft, as one tree of exceptions.

Each error says what happened (`str(error)`), what the administrator can do
(`advice`) and how Microsoft names it (`code`, `request_id`). No secret, token,
authorization code, query string or body is ever part of an error.
"""

from enum import StrEnum
from typing import TypedDict, Unpack


class Reference(TypedDict, total=False):
    """What every error can carry besides its sentence."""

    advice: str
    status: int | None
    code: str
    request_id: str


class EntraError(Exception):
    """A conversation with Microsoft failed.

    `retryable` says whether the same call can succeed later without anybody
    changing anything.
    """

    retryable = False
    advice = ""

    def __init__(self, message: str, **reference: Unpack[Reference]) -> None:
        super().__init__(message)
        self.message = message
        self.advice = reference.get("advice") or type(self).advice
        self.status = reference.get("status")
        self.code = reference.get("code", "")
        self.request_id = reference.get("request_id", "")

    @property
    def reference(self) -> str:
        """Microsoft's names for this failure, for a support case; may be empty."""
        parts = [self.code] if self.code else []
        if self.request_id:
            parts.append(f"request {self.request_id}")
        return ", ".join(parts)

    def sentences(self) -> str:
        """What happened, what to do and Microsoft's reference, as one paragraph."""
        reference = (
            f"Microsoft's reference: {self.reference}." if self.reference else ""
        )
        return " ".join(part for part in (self.message, self.advice, reference) if part)


class InvalidCloudAddress(EntraError, ValueError):
    """The address of a sandbox cloud is not an https address on loopback."""

    advice = "Use an https address on 127.0.0.1, ::1 or localhost."


class NotAllowed(EntraError):
    """A request was stopped before it left: it is not on the list of reads."""

    advice = "The console only reads from Microsoft. Report this as a defect."


class RedirectRefused(EntraError):
    """Microsoft answered with a redirect, and redirects are never followed."""

    advice = "Check that no proxy redirects requests to Microsoft's addresses."


class ServiceUnavailable(EntraError):
    """Microsoft throttled or failed every attempt.

    `retry_after` is in seconds, and None where Microsoft named no time.
    """

    retryable = True
    advice = "Nothing was changed. The console tries again by itself."

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        **reference: Unpack[Reference],
    ) -> None:
        super().__init__(message, **reference)
        self.retry_after = retry_after

    @property
    def throttled(self) -> bool:
        """Tell a service that limits the console from one that is down."""
        return self.status == 429


class Unreachable(EntraError):
    """No complete answer arrived: name resolution, connection, timeout, cut body."""

    retryable = True
    advice = (
        "Check the network, the proxy and the firewall between the console and "
        "Microsoft. Nothing was changed."
    )


class TlsRefused(Unreachable):
    """The TLS connection was refused: unknown authority, wrong name, weak suite."""

    retryable = False
    advice = (
        "Check which certificate the console is shown for this host. TLS 1.2 or "
        "higher with forward secrecy is required."
    )


class ForeignAnswer(Unreachable):
    """An answer that Microsoft's services do not give: a web page in its place."""

    advice = (
        "Look at what stands between the console and Microsoft: a proxy, a firewall, "
        "a network with a sign-in page. Nothing was changed."
    )


class IdentityError(EntraError):
    """Microsoft's sign-in service refused, or its answer was not acceptable."""


class SignInUnavailable(IdentityError, ServiceUnavailable):
    """Microsoft's sign-in service throttled or failed every attempt."""


class SignInThrottled(SignInUnavailable):
    """Microsoft's sign-in service limits the console, whatever its HTTP status says."""

    throttled = True


class TenantNotFound(IdentityError):
    """No tenant with this id or domain exists in this cloud."""


class WrongCloud(IdentityError):
    """The tenant belongs to another Microsoft cloud; `cloud_key` names it."""

    def __init__(
        self,
        message: str,
        *,
        cloud_key: str = "",
        **reference: Unpack[Reference],
    ) -> None:
        super().__init__(message, **reference)
        self.cloud_key = cloud_key


class CredentialsRefused(IdentityError):
    """The application's secret or certificate was refused; `expired` says why."""

    def __init__(
        self,
        message: str,
        *,
        expired: bool = False,
        **reference: Unpack[Reference],
    ) -> None:
        super().__init__(message, **reference)
        self.expired = expired


class InvalidCredential(IdentityError, ValueError):
    """A secret, key or certificate cannot be used; nothing was sent."""


class AssertionUnavailable(InvalidCredential):
    """The file with the federated assertion is missing, unreadable or expired."""


class ConsentMissing(IdentityError):
    """The application is not, or no longer, consented to in the tenant."""

    advice = "Ask a Global Administrator of the tenant to grant admin consent again."


class ApplicationRemoved(ConsentMissing):
    """The enterprise application is not, or no longer, in the tenant."""

    advice = (
        "Ask a Global Administrator of the tenant to grant admin consent again: "
        "Microsoft adds the enterprise application by itself."
    )


class ConsentDeclined(IdentityError):
    """The person declined or canceled on Microsoft's page."""

    advice = "Nothing was saved. Start again when the permissions can be accepted."


class AdministratorRequired(IdentityError):
    """The person who signed in may not grant admin consent."""


class ApplicationNotFound(IdentityError):
    """The application's client id is not known to the tenant or the cloud."""


class ApplicationDisabled(IdentityError):
    """The application or its service principal is disabled."""


class ConditionalAccessBlocked(IdentityError):
    """A Conditional Access policy of the tenant blocks the sign-in."""


class CodeRefused(IdentityError):
    """The authorization code is used, expired, or not for this sign-in."""

    advice = "Nothing was saved. Start again."


class PersonRefused(IdentityError):
    """Microsoft does not let this person sign in to this application."""


class SignInInterrupted(IdentityError):
    """Microsoft needs the person to do something before signing in."""

    advice = "Start again and finish the steps on Microsoft's page."


class RedirectUriRefused(IdentityError):
    """The redirect URI is not among those of the application registration."""


class SignInRefused(IdentityError):
    """Any other refusal by Microsoft's sign-in service; stop, delete nothing."""

    advice = "Nothing was changed. Search Microsoft's documentation for the code."


class SignInResponseError(IdentityError):
    """The sign-in service answered something the console does not understand."""

    advice = "Check that no proxy rewrites answers from Microsoft."


class DiscoveryRefused(SignInResponseError):
    """The discovery document names another issuer or endpoints on other hosts."""


class IdTokenReason(StrEnum):
    """Why an ID token was refused."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    KEY_ISSUER = "key_issuer"
    SIGNATURE = "signature"
    NOT_AN_ID_TOKEN = "not_an_id_token"  # noqa: S105 - a reason, not a password
    VERSION = "version"
    AUDIENCE = "audience"
    AUTHORIZED_PARTY = "authorized_party"
    TENANT_MISSING = "tenant_missing"
    PERSONAL_ACCOUNT = "personal_account"
    OTHER_TENANT = "other_tenant"
    ISSUER = "issuer"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUED_AT = "issued_at"
    NONCE = "nonce"
    SUBJECT = "subject"


class IdTokenRefused(IdentityError):
    """An ID token did not prove what it must; `reason` is for tests and logs."""

    advice = "Nothing was saved and nobody was signed in. Start again."

    def __init__(
        self, message: str, *, reason: IdTokenReason, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice, code=f"id_token:{reason.value}")
        self.reason = reason


class GraphError(EntraError):
    """A Microsoft Graph request failed."""


class GraphUnavailable(GraphError, ServiceUnavailable):
    """Microsoft Graph throttled or failed every attempt."""


class TokenRefused(GraphError):
    """Microsoft Graph refuses a freshly issued access token."""

    advice = (
        "Test the connection. If it stays so, ask a Global Administrator to grant "
        "admin consent again."
    )


class PermissionMissing(GraphError):
    """Graph answered 403; `permission` names the Graph permission that is needed."""

    def __init__(
        self,
        message: str,
        *,
        permission: str,
        **reference: Unpack[Reference],
    ) -> None:
        super().__init__(message, **reference)
        self.permission = permission


class DirectoryObjectNotFound(GraphError):
    """No such user or group in the tenant."""

    advice = "Check the name or the object ID. The object may have been deleted."


class DeltaExpired(GraphError):
    """The delta or page token is too old: read everything again, delete nothing."""

    advice = "The next sync reads the whole directory again. Nothing is lost."


class PageExpired(GraphError):
    """A list was read too slowly or changed while it was read: read it again."""

    retryable = True
    advice = "Nothing was changed. Try again."


class ResultTooLarge(GraphError):
    """Graph refuses to answer in one piece; a paged call has to be used."""


class QueryRefused(GraphError):
    """Graph does not accept the request."""

    advice = "Check the attribute mappings. If they are right, report a defect."


class GraphResponseError(GraphError):
    """A body the console does not understand; the sentence names the field."""

    advice = "Nothing was applied. Check that no proxy rewrites answers from Microsoft."
