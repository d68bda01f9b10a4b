"""Signing in with Entra: authorization code, PKCE, and a person by (tid, oid).

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
https://learn.microsoft.com/entra/identity-platform/claims-validation
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse

from directory import clouds, credentials, registrations, tokens
from directory.dependents import ObjectRef
from directory.entra import (
    Cloud,
    EntraSession,
    IdTokenClaims,
    authorization_url,
    callback_error,
    logout_url,
    new_sign_in_secrets,
    redeem_code,
    validate_id_token,
)
from directory.entra.errors import DirectoryObjectNotFound, EntraError
from directory.models import (
    ApplicationRegistration,
    CloudIdentityProvider,
    DirectoryUser,
)
from jamfidp import crypto
from jamfidp.accounts import confirmation, standing, switches, throttle, validity
from jamfidp.accounts.explanations import ABOUT_GROUPS, explain
from jamfidp.accounts.grants import Reason, Standing
from jamfidp.accounts.models import AccessLevel, SignInRequest, User
from jamfidp.history.record import record

_ABOUT_GROUPS = ABOUT_GROUPS | {Reason.NO_GROUP}
LIFETIME = timedelta(minutes=10)
# Anybody can begin one, and each is a row: so many in ten minutes from one address.
BEGUN_PER_ADDRESS = 60
# Microsoft's word for "whichever tenant the person belongs to".
ANY_TENANT = "organizations"
# A person waits in front of the page.
PATIENCE_SECONDS = 20.0


class SignInRefused(Exception):
    """Nobody was signed in: what happened, what to do, Microsoft's reference."""

    def __init__(self, what: str, *advice: str, reference: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice: Sequence[str] = advice
        self.reference = reference


class NotOurs(SignInRefused):
    """The answer belongs to no sign-in that this console has begun."""


class TooManyBegun(SignInRefused):
    """One address begins sign-ins faster than people do."""

    def __init__(self) -> None:
        super().__init__(
            "Too many sign-ins were begun from your address.",
            "Wait some minutes, then begin again. Local accounts sign in as before.",
        )


@dataclass(frozen=True, slots=True)
class Door:
    """Where at Microsoft a sign-in begins.

    Without a connection it begins where Microsoft finds the person's tenant by
    itself; only a tenant that is connected here lets them in afterwards.
    """

    cloud_key: str
    cloud_idp: CloudIdentityProvider | None = None
    login_hint: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    account: User
    next_path: str


def connections() -> list[CloudIdentityProvider]:
    """The connections that people can sign in with, in the order of their names."""
    stopped = set(switches.stops().values_list("tenant_id", flat=True))
    if "" in stopped:
        return []
    return list(
        CloudIdentityProvider.objects.filter(enabled=True)
        .exclude(tenant_id__in=stopped)
        .order_by("display_name")
    )


def is_stopped() -> bool:
    """Whether an administrator has stopped sign-in with Entra somewhere."""
    return switches.stops().exists()


def _check_allowed(tenant_id: str) -> None:
    if switches.stop_for(tenant_id) is not None:
        raise SignInRefused(
            "An administrator of this console has stopped sign-in with Entra.",
            "Ask an administrator of this console when it is allowed again. Local "
            "accounts sign in as before.",
        )


def clouds_to_choose() -> list[Cloud]:
    """The clouds whose people can sign in; more than one is a question to the person."""
    keys = {one.cloud for one in connections()}
    return [cloud for cloud in clouds.available() if cloud.key in keys]


def door_for(address: str, cloud_key: str) -> Door:
    """Return where a person begins who typed a work address, or nothing.

    It does not tell which domains are connected: unless a connection has an
    application of its own, everybody is sent to the same page of Microsoft's.

    Raises:
        SignInRefused: nobody of this cloud can sign in.
    """
    there = [one for one in connections() if one.cloud == cloud_key]
    domain = address.rpartition("@")[2].strip().casefold()
    for one in there:
        if one.own_registration_id is not None and domain in map(
            str.casefold, one.verified_domains
        ):
            return Door(cloud_key, one, address)
    if not any(one.own_registration_id is None for one in there):
        raise SignInRefused(
            "No sign-in with Entra is set up here for this address.",
            "Type the work address that your organization gave you, or ask an "
            "administrator of this console.",
        )
    return Door(cloud_key, login_hint=address)


def redirect_uri() -> str:
    """Fixed by the settings: no header of a request takes part in it."""
    return f"{settings.CONSOLE_URL}{reverse('accounts:entra-callback')}"


def begin(
    door: Door, *, browser: str, address: str | None, next_path: str, now: datetime
) -> str:
    """Return Microsoft's address for one sign-in, which is bound to the browser.

    Raises:
        SignInRefused: it cannot begin; Microsoft is not reached, or the credential
            of the application cannot be read.
        TooManyBegun
    """
    tenant_id = door.cloud_idp.tenant_id if door.cloud_idp else ""
    _check_allowed(tenant_id)
    place = _check_not_too_many(address, now=now)
    secrets = new_sign_in_secrets()
    try:
        cloud = clouds.cloud(door.cloud_key)
        registration = _registration(door.cloud_key, door.cloud_idp)
        # Read now: a key that is lost is better told before the person signs in.
        credentials.require_one(registration)
        with _session(cloud) as session:
            discovery = clouds.METADATA.discovery(
                cloud, tenant_id or ANY_TENANT, session, now=now
            )
        state_hash = _hash(secrets.state)
        flow = crypto.encrypt(
            json.dumps({"nonce": secrets.nonce, "verifier": secrets.code_verifier}),
            model=SignInRequest._meta.label_lower,
            pk=state_hash,
            field="flow",
        )
    except EntraError as error:
        raise _refused(error) from error
    with transaction.atomic():
        SignInRequest.objects.filter(expires_at__lt=now - LIFETIME).delete()
        SignInRequest.objects.create(
            state_hash=state_hash,
            browser_hash=_hash(browser),
            cloud=cloud.key,
            tenant_id=tenant_id,
            address=place,
            flow_sealed=flow,
            next_path=next_path,
            created_at=now,
            expires_at=now + LIFETIME,
        )
    return authorization_url(
        discovery,
        client_id=registration.client_id,
        redirect_uri=redirect_uri(),
        state=secrets.state,
        nonce_hash=secrets.nonce_hash,
        code_challenge=secrets.code_challenge,
        # Else Microsoft signs in whoever it knows, without asking.
        prompt="select_account",
        login_hint=door.login_hint,
    )


def _check_not_too_many(address: str | None, *, now: datetime) -> str | None:
    place = throttle.address_key(address)
    if place is not None:
        begun = SignInRequest.objects.filter(
            address=place, created_at__gt=now - LIFETIME
        )
        if begun.count() >= BEGUN_PER_ADDRESS:
            raise TooManyBegun
    return place


def _registration(
    cloud_key: str, cloud_idp: CloudIdentityProvider | None
) -> ApplicationRegistration:
    """The application of a connection, or the one of all that have none of their own."""
    if cloud_idp is None:
        return registrations.registration(cloud_key)
    return registrations.registration_of(cloud_idp)


def finish(
    parameters: Mapping[str, str], *, browser: str, address: str | None, now: datetime
) -> SignedIn:
    """Return the account of the person whom Microsoft's answer proves.

    Makes the account at a person's first sign-in, with Group Access, when a bound
    directory group holds them.

    Raises:
        SignInRefused: with the words for the person; the history keeps them.
    """
    try:
        request = _claim(parameters.get("state", ""), browser=browser, now=now)
    except SignInRefused as refused:
        _record_refusal(refused, SignInRequest(), address=address, now=now)
        raise
    try:
        cloud_idp = _connection_of(request.tenant_id) if request.tenant_id else None
        _check_allowed(request.tenant_id)
        claims = _proof(parameters, request, cloud_idp, now=now)
        if cloud_idp is None:
            cloud_idp = _connection_found(claims, request)
            _check_allowed(cloud_idp.tenant_id)
        _confirm(claims, cloud_idp, now=now)
        account = _account(claims, cloud_idp, now=now)
    except SignInRefused as refused:
        _record_refusal(refused, request, address=address, now=now)
        raise
    record(
        obj=account,
        actor=account,
        action="signed in",
        note=f"Signed in with Entra{_from(address)}.",
        details={"connection": cloud_idp.display_name},
        now=now,
    )
    return SignedIn(account=account, next_path=request.next_path)


def _connection_of(tenant_id: str) -> CloudIdentityProvider:
    found = CloudIdentityProvider.objects.filter(
        tenant_id=tenant_id, enabled=True
    ).first()
    if found is None:
        raise SignInRefused(
            "The connection to this tenant was disabled or deleted meanwhile.",
            "An administrator with a local account can sign in with a password.",
        )
    return found


def _connection_found(
    claims: IdTokenClaims, request: SignInRequest
) -> CloudIdentityProvider:
    """The connection of the tenant that Microsoft found, by the application asked for."""
    found = CloudIdentityProvider.objects.filter(
        tenant_id=claims.tenant_id,
        cloud=request.cloud,
        enabled=True,
        own_registration=None,
    ).first()
    if found is None:
        who = claims.preferred_username or claims.name or claims.object_id
        raise SignInRefused(
            f"You signed in at Microsoft as {who}, but your organization is not "
            "connected to this console.",
            "Sign in with the account of another organization, or ask an administrator "
            "of this console.",
        )
    return found


def _claim(state: str, *, browser: str, now: datetime) -> SignInRequest:
    """Take the request that the state names; only one caller ever gets it."""
    if not state:
        raise NotOurs(
            "This is not the answer to a sign-in of this console: it has no state.",
            "Begin at the sign-in page.",
        )
    request = SignInRequest.objects.filter(state_hash=_hash(state)).first()
    if request is None:
        raise NotOurs(
            "This console has not begun this sign-in, or it was long ago.",
            "Begin again.",
        )
    if not browser or not compare_digest(request.browser_hash, _hash(browser)):
        raise SignInRefused(
            "This sign-in was begun in another browser.",
            "Begin again in this browser. If you did not begin any, somebody may have "
            "sent you the link: tell your administrator.",
        )
    taken = SignInRequest.objects.filter(pk=request.pk, used_at=None).update(
        used_at=now
    )
    if not taken:
        raise SignInRefused(
            "The answer to this sign-in was used already.", "Begin again."
        )
    if now >= request.expires_at:
        raise SignInRefused(
            "The sign-in took longer than ten minutes and has expired.", "Begin again."
        )
    return request


def _proof(
    parameters: Mapping[str, str],
    request: SignInRequest,
    cloud_idp: CloudIdentityProvider | None,
    *,
    now: datetime,
) -> IdTokenClaims:
    """Redeem the code and return what the validated ID token proves."""
    refusal = callback_error(parameters)
    if refusal is not None:
        raise _refused(refusal)
    code = parameters.get("code", "")
    if not code:
        raise SignInRefused("Microsoft's answer holds no code.", "Begin again.")
    try:
        flow = json.loads(
            crypto.decrypt(
                request.flow_sealed,
                model=SignInRequest._meta.label_lower,
                pk=request.state_hash,
                field="flow",
            )
        )
        cloud = clouds.cloud(request.cloud)
        registration = _registration(request.cloud, cloud_idp)
        with _session(cloud) as session:
            discovery = clouds.METADATA.discovery(
                cloud, request.tenant_id or ANY_TENANT, session, now=now
            )
            # A credential that Microsoft refuses leaves the code to the next one.
            token = tokens.with_accepted(
                registration,
                lambda credential: redeem_code(
                    discovery,
                    client_id=registration.client_id,
                    credential=credential,
                    code=code,
                    redirect_uri=redirect_uri(),
                    code_verifier=flow["verifier"],
                    nonce=flow["nonce"],
                    session=session,
                ),
                now=now,
                insist=True,
            )
            return validate_id_token(
                token,
                cloud=cloud,
                client_id=registration.client_id,
                nonce=flow["nonce"],
                jwks=clouds.METADATA.signing_keys(discovery, session),
                now=now,
                expected_tenant=request.tenant_id or None,
            )
    except EntraError as error:
        raise _refused(error) from error
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        raise SignInRefused(
            "The encryption key of the console was changed during the sign-in.",
            "Begin again.",
        ) from None


def _confirm(
    claims: IdTokenClaims, cloud_idp: CloudIdentityProvider, *, now: datetime
) -> None:
    """Ask Microsoft Graph what is true of the person now; unconfirmed is no."""
    ref = ObjectRef(claims.tenant_id, claims.object_id)
    try:
        cloud = clouds.cloud(cloud_idp.cloud)
        with _session(cloud) as session:
            found = confirmation.ask(cloud_idp, ref, session=session, now=now)
    except DirectoryObjectNotFound as error:
        raise SignInRefused(
            "Microsoft Graph does not know you any more: your account was deleted.",
            "Ask an administrator of the tenant.",
            reference=error.reference,
        ) from error
    except EntraError as error:
        raise SignInRefused(
            "Microsoft has confirmed who you are, but the console could not ask "
            "whether your account is enabled and which groups you are in. Without "
            "that you get no privileges, and you are not signed in.",
            error.message,
            error.advice,
            "An administrator with a local account can sign in meanwhile.",
            reference=error.reference,
        ) from error
    if found.enabled is not True:
        raise SignInRefused(
            "Your account is disabled in Entra."
            if found.enabled is False
            else "Entra does not say whether your account is enabled, and unknown "
            "counts as no.",
            "Ask an administrator of the tenant.",
        )


def _account(
    claims: IdTokenClaims, cloud_idp: CloudIdentityProvider, *, now: datetime
) -> User:
    """Return the person's account, made now when privileges follow from a group.

    Found by (tid, oid) alone. A local account is never joined, whatever its name.
    """
    account = User.objects.filter(
        tenant_id=claims.tenant_id, object_id=claims.object_id
    ).first()
    ref = ObjectRef(claims.tenant_id, claims.object_id)
    if switches.block_of_person(ref) is not None:
        raise SignInRefused(
            "You are blocked in this console.",
            "Ask an administrator of this console.",
        )
    if account is None:
        held = standing.of_person(ref, now=now)
        if held.holds_nothing:
            raise _no_privileges(held, claims, cloud_idp)
        return _create(claims, cloud_idp, held, now=now)
    if not account.is_active:
        raise SignInRefused(
            "Your account is disabled in this console.",
            "Ask an administrator of this console to enable it.",
        )
    _follow_names(account, claims, cloud_idp)
    return account


def _no_privileges(
    held: Standing, claims: IdTokenClaims, cloud_idp: CloudIdentityProvider
) -> SignInRefused:
    who = claims.preferred_username or claims.name or claims.object_id
    # Which groups give privileges is not told to people who are in none of them.
    personal = [one for one in held.withheld if one.reason not in _ABOUT_GROUPS]
    only = explain(personal[0], you=True) if personal else None
    return SignInRefused(
        f"You signed in at Microsoft as {who}, but you hold no privileges in this "
        f"console.",
        *(
            [only.what, only.advice]
            if only
            else [
                f"{cloud_idp.display_name}: you are in none of the directory groups "
                f"that give privileges here.",
                "Ask an administrator of this console which group that is, and an "
                "administrator of the tenant to add you. It counts after the next "
                "sync.",
            ]
        ),
    )


@transaction.atomic
def _create(
    claims: IdTokenClaims,
    cloud_idp: CloudIdentityProvider,
    held: Standing,
    *,
    now: datetime,
) -> User:
    name, username, email = _names(claims, cloud_idp)
    account = User(
        username=username,
        full_name=name,
        email=email,
        access_level=AccessLevel.GROUP,
        tenant_id=claims.tenant_id,
        object_id=claims.object_id,
        created_at=now,
    )
    account.set_unusable_password()
    try:
        with transaction.atomic():
            account.save()
    except IntegrityError:
        # The same person in two tabs: the account of the other one counts.
        return User.objects.get(tenant_id=claims.tenant_id, object_id=claims.object_id)
    validity.follow(accounts=[account.pk], by="the first sign-in with Entra", now=now)
    record(
        obj=account,
        actor=None,
        action="created",
        note="Created at the first sign-in with Entra. "
        + " ".join(grant.path.sentence for grant in held.grants),
        details={"tenant_id": claims.tenant_id, "object_id": claims.object_id},
        now=now,
    )
    return account


def _names(
    claims: IdTokenClaims, cloud_idp: CloudIdentityProvider
) -> tuple[str, str, str]:
    """Return name, user name and mail for showing: the directory's, else the token's.

    A user name that another account has is told apart by the object id.
    """
    person = DirectoryUser.objects.filter(
        cloud_idp=cloud_idp, object_id=claims.object_id
    ).first()
    upn = person.user_principal_name if person else claims.preferred_username
    username = (upn or claims.object_id)[:200]
    taken = User.objects.filter(username__iexact=username).exclude(
        tenant_id=claims.tenant_id, object_id=claims.object_id
    )
    if taken.exists():
        username = f"{username} ({claims.object_id})"
    return (
        (person.display_name if person else claims.name)[:255],
        username,
        (person.email if person else "")[:320],
    )


def _follow_names(
    account: User, claims: IdTokenClaims, cloud_idp: CloudIdentityProvider
) -> None:
    name, username, email = _names(claims, cloud_idp)
    if (account.full_name, account.username, account.email) != (name, username, email):
        account.full_name, account.username, account.email = name, username, email
        account.save(update_fields=["full_name", "username", "email"])


def sign_out_address(tenant_id: str, *, now: datetime) -> str:
    """Return Microsoft's address that ends the person's session there.

    Raises:
        SignInRefused: Microsoft is not reached, or the connection is gone.
    """
    cloud_idp = _connection_of(tenant_id)
    try:
        cloud = clouds.cloud(cloud_idp.cloud)
        with _session(cloud) as session:
            discovery = clouds.METADATA.discovery(cloud, tenant_id, session, now=now)
    except EntraError as error:
        raise _refused(error) from error
    return logout_url(
        discovery,
        post_logout_redirect_uri=f"{settings.CONSOLE_URL}"
        f"{reverse('accounts:entra-signed-out')}",
    )


def _session(cloud: Cloud) -> EntraSession:
    return EntraSession(cloud, total_seconds=PATIENCE_SECONDS, attempts=2)


def _refused(error: EntraError) -> SignInRefused:
    return SignInRefused(error.message, error.advice, reference=error.reference)


def _record_refusal(
    refused: SignInRefused,
    request: SignInRequest,
    *,
    address: str | None,
    now: datetime,
) -> None:
    if not throttle.worth_recording(address=address, now=now):
        return
    record(
        obj=request,
        actor=None,
        action="refused",
        note=f"Refused a sign-in with Entra{_from(address)}. {refused.what}",
        details={"reference": refused.reference} if refused.reference else None,
        now=now,
    )


def _from(address: str | None) -> str:
    return f" from {address}" if address else ""


def _hash(value: str) -> str:
    return sha256(value.encode()).hexdigest()
