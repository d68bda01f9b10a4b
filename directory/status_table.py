"""What each status of a connection means, in one table.

What is so, what works meanwhile, what to do and which button does it. The evidence,
which differs each time, stands on the row. Which error puts a connection into which
status stands here as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from directory.clouds import CloudUnavailable
from directory.credentials import CredentialsUnreadable
from directory.entra import errors
from directory.models import CloudIdentityProvider
from directory.registrations import NoRegistration

Status = CloudIdentityProvider.Status

DISABLED = "DISABLED"
"""Shown in place of what Microsoft last said while somebody has switched it off here."""
DISABLED_WORD = "Disabled here"


class Remedy(StrEnum):
    """A button that does what a status asks for."""

    CONSENT = "consent"
    REQUEST = "request"
    CREDENTIALS = "credentials"
    PORTAL = "portal"
    CHECK = "check"
    ENABLE = "enable"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a status means to a person.

    `passing` ones go away by themselves as soon as Microsoft answers. With
    `older_tokens`, what was issued before may still be accepted until it ends. With
    `by_case`, what to do begins with what the error advises. `causes` are the errors
    that lead to it.
    """

    sentence: str
    works: str
    advice: str
    remedies: tuple[Remedy, ...]
    look: Literal["good", "attention", "bad", "neutral"] = "bad"
    passing: bool = False
    older_tokens: bool = False
    by_case: bool = False
    causes: tuple[type[errors.EntraError], ...] = ()


_KEPT = (
    "People, groups and memberships stay as the last good read left them, for browsing "
    "and for scopes."
)
_NO_ENTRA = "Nobody signs in with Entra; local accounts sign in."
_STOPPED = f"{_KEPT} {_NO_ENTRA}"
_GRANT = (
    "Have a Global Administrator of the tenant grant consent: here, or by a request "
    "that you send. Mappings, scopes and history stay."
)

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        Status.ACTIVE: Meaning(
            sentence="Microsoft answers, and all that the console needs is granted.",
            works="Everything.",
            advice="Nothing.",
            remedies=(Remedy.CHECK,),
            look="good",
        ),
        Status.PENDING_CONSENT: Meaning(
            sentence="The Entra ID application is another one than the one the tenant "
            "consented to, and nobody has consented to it yet.",
            works=_STOPPED,
            advice=_GRANT,
            remedies=(Remedy.CONSENT, Remedy.REQUEST),
            look="attention",
        ),
        Status.PERMISSIONS_MISSING: Meaning(
            sentence="Of the permissions that the console needs the tenant does not "
            "grant all.",
            works=f"{_KEPT} A read that is not complete is not applied, so that nothing "
            f"is read in part. {_NO_ENTRA}",
            advice=f"{_GRANT} The Permissions tab says which one is missing.",
            remedies=(Remedy.CONSENT, Remedy.REQUEST),
            older_tokens=True,
            causes=(errors.PermissionMissing,),
        ),
        Status.CONSENT_WITHDRAWN: Meaning(
            sentence="The tenant's consent was withdrawn.",
            works=_STOPPED,
            advice=_GRANT,
            remedies=(Remedy.CONSENT, Remedy.REQUEST),
            older_tokens=True,
            causes=(errors.ConsentMissing,),
        ),
        Status.APPLICATION_REMOVED: Meaning(
            sentence="The enterprise application is not in the tenant any more.",
            works=_STOPPED,
            advice=f"{_GRANT} Microsoft then adds the enterprise application again by "
            "itself.",
            remedies=(Remedy.CONSENT, Remedy.REQUEST, Remedy.CREDENTIALS),
            older_tokens=True,
            causes=(errors.ApplicationRemoved, errors.ApplicationNotFound),
        ),
        Status.APPLICATION_DISABLED: Meaning(
            sentence="The application is disabled at Microsoft.",
            works=_STOPPED,
            advice="In the tenant open Enterprise applications, this application, "
            "Properties, and enable it for sign-in. If it is enabled there, whoever "
            "owns the registration has to enable that. Then check now.",
            remedies=(Remedy.CHECK, Remedy.PORTAL),
            older_tokens=True,
            causes=(errors.ApplicationDisabled,),
        ),
        Status.CREDENTIALS: Meaning(
            sentence="Microsoft refuses the credentials of the Entra ID application.",
            works=_STOPPED,
            advice="The connection is checked with another one as soon as it is added.",
            remedies=(Remedy.CREDENTIALS, Remedy.CHECK),
            older_tokens=True,
            by_case=True,
            causes=(errors.CredentialsRefused, errors.InvalidCredential),
        ),
        Status.CREDENTIALS_EXPIRED: Meaning(
            sentence="The credentials of the Entra ID application have expired.",
            works=_STOPPED,
            advice="Make a new secret or certificate at Microsoft and add it here. The "
            "connection is checked with it at once.",
            remedies=(Remedy.CREDENTIALS, Remedy.CHECK),
            older_tokens=True,
        ),
        Status.CREDENTIALS_MISSING: Meaning(
            sentence="The console has no credential for the Entra ID application.",
            works=_STOPPED,
            advice="Microsoft was not asked. The connection is checked as soon as one "
            "is added.",
            remedies=(Remedy.CREDENTIALS, Remedy.CHECK),
            older_tokens=True,
            by_case=True,
            causes=(NoRegistration, errors.AssertionUnavailable),
        ),
        Status.KEY_UNAVAILABLE: Meaning(
            sentence="The credentials of the Entra ID application cannot be read: their "
            "encryption key is missing, or is another one.",
            works=_STOPPED,
            advice="Set ENCRYPTION_KEYS to the key that sealed them, or enter the "
            "credentials anew. Nothing was deleted.",
            remedies=(Remedy.CREDENTIALS, Remedy.CHECK),
            older_tokens=True,
            causes=(CredentialsUnreadable,),
        ),
        Status.BLOCKED: Meaning(
            sentence="A Conditional Access policy of the tenant blocks the console.",
            works=_STOPPED,
            advice="Have an administrator of the tenant find the request in the sign-in "
            "logs of service principals, and except the application, or the address of "
            "this console, from the policy. Then check now.",
            remedies=(Remedy.CHECK, Remedy.PORTAL),
            older_tokens=True,
            causes=(errors.ConditionalAccessBlocked,),
        ),
        Status.WRONG_CLOUD: Meaning(
            sentence="The tenant is in another Microsoft cloud than this connection.",
            works=_STOPPED,
            advice="Tokens of one cloud are nothing in another. If the tenant was moved, "
            "delete this connection and connect the tenant in its cloud: references "
            "hold the tenant's and the objects' IDs, and are found again.",
            remedies=(Remedy.CHECK, Remedy.DELETE),
            causes=(errors.WrongCloud,),
        ),
        Status.TENANT_GONE: Meaning(
            sentence="Microsoft does not know this tenant any more.",
            works=_STOPPED,
            advice="If it still exists, check the cloud and ask its administrator; a "
            "tenant without a subscription can vanish for a time. If it is gone for "
            "good, delete the connection; until then nothing is deleted here.",
            remedies=(Remedy.CHECK, Remedy.DELETE),
            older_tokens=True,
            causes=(errors.TenantNotFound,),
        ),
        Status.REFUSED: Meaning(
            sentence="Microsoft refuses the console for another reason.",
            works=_STOPPED,
            advice="Microsoft's support finds the request by its ID.",
            remedies=(Remedy.CHECK,),
            older_tokens=True,
            by_case=True,
            causes=(errors.IdentityError, errors.TokenRefused),
        ),
        Status.THROTTLED: Meaning(
            sentence="Microsoft limits the requests of the console.",
            works=f"{_KEPT} Signing in with Entra waits for Microsoft, too.",
            advice="Nothing: the console waits for as long as Microsoft asks, and goes "
            "on by itself. If it lasts, look for other consoles or tools that use the "
            "same application.",
            remedies=(Remedy.CHECK,),
            look="attention",
            passing=True,
        ),
        Status.UNREACHABLE: Meaning(
            sentence="Microsoft cannot be reached, or its answers do not arrive whole.",
            works=f"{_KEPT} {_NO_ENTRA}",
            advice="As soon as answers arrive, this heals by itself.",
            remedies=(Remedy.CHECK,),
            look="attention",
            passing=True,
            by_case=True,
            causes=(
                errors.ServiceUnavailable,
                errors.SignInUnavailable,
                errors.GraphUnavailable,
                errors.Unreachable,
                errors.RedirectRefused,
                errors.SignInResponseError,
                CloudUnavailable,
            ),
        ),
        DISABLED: Meaning(
            sentence="Somebody switched this connection off in this console.",
            works="Nothing is read, and Microsoft is not asked. What refers to its "
            "people and groups is unknown, which neither gives nor takes anything. "
            "Privileges held through it are suspended; local accounts sign in.",
            advice="Enable it to read the directory again.",
            remedies=(Remedy.ENABLE,),
            look="neutral",
        ),
    }
)

_BY_ERROR: Mapping[type[BaseException], str] = {
    kind: status for status, meaning in MEANINGS.items() for kind in meaning.causes
}


def status_for(error: errors.EntraError) -> str | None:
    """Return the status an error puts a connection in: that of its nearest kind.

    None for errors that say nothing about the connection: an object that does not
    exist, a delta link that is too old, a query Graph does not accept.
    """
    if isinstance(error, errors.ServiceUnavailable) and error.throttled:
        return Status.THROTTLED
    if isinstance(error, errors.CredentialsRefused) and error.expired:
        return Status.CREDENTIALS_EXPIRED
    return next(
        (_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), None
    )


def shown_status(cloud_idp: CloudIdentityProvider) -> str:
    """Return the status to show: what is switched off here is not asked there."""
    return cloud_idp.status if cloud_idp.enabled else DISABLED


def meaning_of(cloud_idp: CloudIdentityProvider) -> Meaning:
    return MEANINGS[shown_status(cloud_idp)]


def word_of(cloud_idp: CloudIdentityProvider) -> str:
    """Return the status in a word or two."""
    return str(cloud_idp.get_status_display()) if cloud_idp.enabled else DISABLED_WORD


def what_to_do(cloud_idp: CloudIdentityProvider) -> str:
    """Return what a person does about the status that is shown."""
    meaning = meaning_of(cloud_idp)
    if meaning.by_case and cloud_idp.status_advice:
        return f"{cloud_idp.status_advice} {meaning.advice}"
    return meaning.advice
