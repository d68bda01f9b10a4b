"""Connecting a tenant: ask, take the answer, verify, save.

Nothing is saved before a person saves it. An attempt is a `ConsentRequest`: it
belongs to one browser and one person, its state works once, and what is verified
is proven by Microsoft's signature and by reading the tenant itself, never by the
parameters of an answer.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.urls import reverse

from directory import clouds, credentials, permission_use, status, tokens
from directory.connector import configuration, messages
from directory.connector.keys import signing_key, verifying_keys
from directory.connector.messages import Answer, EndRequest, StartRequest
from directory.dependents import registered
from directory.entra import (
    EntraSession,
    GraphClient,
    PermissionProbe,
    SignInSecrets,
    TokenCache,
    errors,
    new_sign_in_secrets,
    redeem_code,
    validate_id_token,
)
from directory.models import (
    ApplicationRegistration,
    AttributeMappings,
    CloudIdentityProvider,
    ConsentRequest,
    SentRequest,
    SyncRun,
)
from directory.permissions import Feature
from directory.registrations import connections_of, find_registration
from directory.sync import request_sync
from directory.sync.forget import forget_attributes
from jamfidp import crypto
from jamfidp.history.record import record

# From the start to Microsoft's answer, and from the verification to Save.
ANSWER_WITHIN = timedelta(minutes=10)
SAVE_WITHIN = timedelta(hours=1)
# What a request that was sent came to waits until an administrator looks at it.
SAVE_SENT_WITHIN = timedelta(hours=72)
KEEP_ATTEMPTS = timedelta(days=1)
# A verification that another request is busy with; after that it was cut off.
STEP_SECONDS = 60
SESSION_SECONDS = 30.0

# Consent takes effect at Microsoft within seconds, not at once.
PROBE_TRIES = 4
RETRY_SECONDS = 2.0

DELEGATED_PERMISSION = "User.Read"
Step = ConsentRequest.Step


class Refusal(StrEnum):
    """Why an answer that came to the console was not taken."""

    NO_ANSWER = "no-answer"
    FORGED = "forged"
    UNKNOWN_KEY = "unknown-key"
    OTHER_CONSOLE = "other-console"
    TOO_OLD = "too-old"
    UNKNOWN = "unknown"
    OTHER_BROWSER = "other-browser"
    OTHER_PERSON = "other-person"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    CODE_SWAPPED = "code-swapped"


_MESSAGE_REFUSALS = {
    messages.Refusal.EXPIRED: Refusal.TOO_OLD,
    messages.Refusal.UNKNOWN_KEY: Refusal.UNKNOWN_KEY,
    messages.Refusal.AUDIENCE: Refusal.OTHER_CONSOLE,
}


class AnswerRefused(Exception):
    """An answer was not taken; nothing was changed by it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class AttemptOver(Exception):
    """The attempt ended, or is too old for what was asked of it."""


class AlreadyConnected(errors.EntraError):
    """The tenant has a connection already; `cloud_idp` is it."""

    def __init__(self, cloud_idp: CloudIdentityProvider) -> None:
        super().__init__(
            f"The tenant is already connected as '{cloud_idp.display_name}'.",
            advice="Nothing was saved. A tenant is connected once. To renew its "
            "consent, open that connection and choose 'Grant consent again'.",
        )
        self.cloud_idp = cloud_idp


class RegistrationInUse(errors.EntraError):
    """An application of one connection was meant for another one."""

    def __init__(self, other: CloudIdentityProvider) -> None:
        super().__init__(
            f"The application is the own one of '{other.display_name}'.",
            advice="Nothing was saved. Use the deployment's application, or register "
            "another one.",
        )


class OtherTenant(errors.IdentityError):
    """What was proven is another tenant than the one expected."""


# --- The protocol with the connector -----------------------------------------------


def console_id() -> str:
    return str(settings.CONSOLE_URL)


def return_url() -> str:
    """The one address at which the connector's answers arrive."""
    return f"{settings.CONSOLE_URL}{reverse('directory:consent-callback')}"


def served_consoles() -> Sequence[configuration.Console]:
    """This console, for the connector that is mounted in it."""
    client_ids = ApplicationRegistration.objects.values_list("client_id", flat=True)
    return [
        configuration.Console(
            id=console_id(),
            return_url=return_url(),
            public_keys=verifying_keys("console"),
            client_ids=frozenset(client_ids),
        )
    ]


def browser_hash(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()


def _state_hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


# --- Begin -------------------------------------------------------------------------


@transaction.atomic
def begin(
    *,
    registration: ApplicationRegistration,
    cloud_idp: CloudIdentityProvider | None,
    browser: str,
    actor: Any | None,
    sent_request: SentRequest | None = None,
    now: datetime,
) -> ConsentRequest:
    """Begin to connect a tenant, or to renew the consent of a connection.

    Consent is asked for the application of `registration`; saving makes it the one the
    connection uses. `browser` is a secret that only this browser holds. Nobody is the
    actor where a request that was sent is opened.

    Raises:
        NoRegistration, credentials.CredentialsUnreadable,
        errors.AssertionUnavailable, clouds.CloudUnavailable, crypto.KeyUnavailable,
        RegistrationInUse
    """
    clouds.cloud(registration.cloud)
    credentials.require_one(registration)
    check_free(registration, cloud_idp)
    forget_old_attempts(now=now)
    secrets = new_sign_in_secrets()
    attempt = ConsentRequest(
        state_hash=_state_hash(secrets.state),
        browser_hash=browser_hash(browser),
        started_by=actor,
        sent_request=sent_request,
        cloud=registration.cloud,
        registration=registration,
        cloud_idp=cloud_idp,
        created_at=now,
        expires_at=now + ANSWER_WITHIN,
    )
    _seal(
        attempt,
        {
            "state": secrets.state,
            "nonce": secrets.nonce,
            "code_verifier": secrets.code_verifier,
        },
    )
    attempt.save()
    what = "to renew consent" if cloud_idp else "to connect a tenant"
    record(
        obj=cloud_idp or attempt,
        actor=actor,
        action="consent",
        note=f"The link of {str(sent_request).lower()} was opened {what}"
        if sent_request
        else f"Began {what}",
        now=now,
    )
    return attempt


def forget_old_attempts(*, now: datetime) -> None:
    """Delete attempts that nobody looks at any more; sent requests keep theirs."""
    ConsentRequest.objects.filter(
        expires_at__lt=now - KEEP_ATTEMPTS, sent_request=None
    ).delete()


def check_free(
    registration: ApplicationRegistration, cloud_idp: CloudIdentityProvider | None
) -> None:
    """An application that is not the deployment's serves one connection alone."""
    if not registration.for_one_connection:
        return
    for other in connections_of(registration):
        if cloud_idp is None or other.pk != cloud_idp.pk:
            raise RegistrationInUse(other)


def start_url(attempt: ConsentRequest, *, now: datetime) -> str:
    """Return the connector's address with the signed request.

    Raises:
        AttemptOver: an answer came already, or the ten minutes are over.
        credentials.CredentialsUnreadable
    """
    if attempt.step != Step.STARTED or now >= attempt.expires_at:
        raise AttemptOver
    flow = _unseal(attempt)
    secrets = SignInSecrets(
        state=flow["state"], nonce=flow["nonce"], code_verifier=flow["code_verifier"]
    )
    signed = messages.sign_start(
        StartRequest(
            console_id=console_id(),
            return_url=return_url(),
            cloud=attempt.cloud,
            client_id=attempt.registration.client_id,
            tenant=attempt.cloud_idp.tenant_id if attempt.cloud_idp else "",
            state=secrets.state,
            nonce_hash=secrets.nonce_hash,
            code_challenge=secrets.code_challenge,
        ),
        audience=configuration.connector_id(),
        key=signing_key("console"),
        now=now,
    )
    return f"{settings.CONNECTOR_URL}/start/?{urlencode({'request': signed})}"


def _seal(attempt: ConsentRequest, flow: Mapping[str, str]) -> None:
    attempt.flow_sealed = crypto.encrypt(
        json.dumps(dict(flow)),
        model=attempt._meta.label_lower,
        pk=attempt.state_hash,
        field="flow",
    )


def _unseal(attempt: ConsentRequest) -> dict[str, str]:
    try:
        flow: dict[str, str] = json.loads(
            crypto.decrypt(
                attempt.flow_sealed,
                model=attempt._meta.label_lower,
                pk=attempt.state_hash,
                field="flow",
            )
        )
    except (crypto.KeyUnavailable, crypto.DecryptionFailed):
        raise credentials.CredentialsUnreadable(
            "What the console kept of this attempt cannot be read.",
            advice="The encryption key changed meanwhile. Start again.",
        ) from None
    return flow


# --- The answer --------------------------------------------------------------------


def read_answer(token: str, *, now: datetime) -> Answer:
    """Return the connector's answer, its signature and audience checked.

    Raises:
        AnswerRefused
    """
    if not token:
        raise AnswerRefused(Refusal.NO_ANSWER)
    try:
        return messages.read_answer(
            token,
            connector_id=configuration.connector_id(),
            console_id=console_id(),
            keys=verifying_keys("connector"),
            now=now,
        )
    except messages.MessageRefused as refused:
        raise AnswerRefused(
            _MESSAGE_REFUSALS.get(refused.refusal, Refusal.FORGED)
        ) from None


def record_refusal(
    refused: AnswerRefused, *, obj: Model, actor: Any | None, now: datetime
) -> None:
    """Keep in the history that an answer was refused: of the person it came to, or of
    the request whose link was opened.
    """
    record(
        obj=obj,
        actor=actor,
        action="refused",
        note=f"A consent answer was refused: {refused.refusal.value}",
        now=now,
    )


def attempt_of(answer: Answer) -> ConsentRequest | None:
    """Return the attempt that an answer names. That it may be taken is not said."""
    attempts = ConsentRequest.objects.select_related("sent_request")
    if answer.reference:
        number = answer.reference
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            return None
        return attempts.filter(pk=int(number)).first()
    return attempts.filter(state_hash=_state_hash(answer.state)).first()


def _check_whose(attempt: ConsentRequest, *, browser: str, actor: Any | None) -> None:
    """An attempt belongs to its browser, and to whoever began it.

    Nobody began one that was opened by a link: its browser is all there is.
    """
    if not hmac.compare_digest(attempt.browser_hash, browser_hash(browser)):
        raise AnswerRefused(Refusal.OTHER_BROWSER)
    if attempt.sent_request_id is None and (
        actor is None or attempt.started_by_id != actor.pk
    ):
        raise AnswerRefused(Refusal.OTHER_PERSON)


def take_answer(
    answer: Answer, *, code: str, browser: str, actor: Any | None, now: datetime
) -> ConsentRequest:
    """Attach an answer to the attempt it belongs to, once.

    An answer that arrives in another browser or for another person leaves the
    attempt as it is: whoever began it can still finish.

    Raises:
        AnswerRefused
    """
    attempt = attempt_of(answer)
    if attempt is None:
        raise AnswerRefused(Refusal.UNKNOWN)
    _check_whose(attempt, browser=browser, actor=actor)
    if now >= attempt.expires_at:
        raise AnswerRefused(Refusal.EXPIRED)
    try:
        with transaction.atomic():
            taken = ConsentRequest.objects.filter(
                pk=attempt.pk, step=Step.STARTED
            ).update(step=Step.ANSWERED, answered_at=now, answer_id=answer.id)
    except IntegrityError:
        taken = 0
    if not taken:
        raise AnswerRefused(Refusal.REPLAYED)
    attempt.refresh_from_db()
    if answer.problem is not None:
        fail(
            attempt,
            Failure(
                kind=answer.problem.kind,
                message=answer.problem.message,
                advice=answer.problem.advice,
                code=answer.problem.code,
                request_id=answer.problem.request_id,
            ),
            now=now,
        )
    elif not code or not answer.carries(code):
        fail(
            attempt,
            Failure(
                kind="CodeSwapped",
                message="The authorization code is not the one that the Cloud "
                "Connector passed on.",
                advice="Nothing was saved. Somebody may have changed the answer on its "
                "way. Start again.",
            ),
            now=now,
        )
        raise AnswerRefused(Refusal.CODE_SWAPPED)
    else:
        try:
            flow = _unseal(attempt)
            _seal(attempt, {**flow, "code": code, "tenant": answer.tenant})
            attempt.save(update_fields=["flow_sealed"])
        except (credentials.CredentialsUnreadable, crypto.KeyUnavailable):
            fail(
                attempt,
                Failure(
                    kind="CredentialsUnreadable",
                    message="What the console kept of this attempt cannot be read.",
                    advice="The encryption key changed meanwhile. Start again.",
                ),
                now=now,
            )
    return attempt


# --- Verify ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt ended, as a person reads it."""

    kind: str
    message: str
    advice: str = ""
    code: str = ""
    request_id: str = ""
    connection: int | None = None

    @classmethod
    def of(cls, error: errors.EntraError) -> "Failure":
        return cls(
            kind=type(error).__name__,
            message=error.message,
            advice=error.advice,
            code=error.code,
            request_id=error.request_id,
            connection=error.cloud_idp.pk
            if isinstance(error, AlreadyConnected)
            else None,
        )


SIGN_IN, TENANT, PERMISSIONS = "sign_in", "tenant", "permissions"
VERIFICATION = (SIGN_IN, TENANT, PERMISSIONS)


def verify(attempt: ConsentRequest, *, now: datetime) -> None:
    """Do every check that is left, waiting where Microsoft needs a moment."""
    while attempt.step == Step.ANSWERED:
        before = (next_check(attempt), attempt.verified.get("tries"))
        verify_next(attempt, now=now)
        after = (next_check(attempt), attempt.verified.get("tries"))
        if attempt.step == Step.ANSWERED and after[0] == before[0]:
            time.sleep(RETRY_SECONDS)


def next_check(attempt: ConsentRequest) -> str | None:
    done = attempt.verified.get("done", [])
    return next((check for check in VERIFICATION if check not in done), None)


def verify_next(attempt: ConsentRequest, *, now: datetime) -> None:
    """Do the next check of an answered attempt; the last one makes it verified.

    A failure ends the attempt, saves nothing else, and says why.
    """
    attempt.refresh_from_db()
    if attempt.step != Step.ANSWERED:
        return
    checks = {
        SIGN_IN: _verify_sign_in,
        TENANT: _verify_tenant,
        PERMISSIONS: _verify_permissions,
    }
    check = next_check(attempt)
    try:
        if check is not None and not checks[check](attempt, now):
            return
    except errors.EntraError as error:
        fail(attempt, Failure.of(error), now=now)
        return
    done = [*attempt.verified.get("done", []), *([check] if check else [])]
    attempt.verified = {**attempt.verified, "done": done, "tries": 0}
    if next_check(attempt) is None:
        attempt.step = Step.VERIFIED
        attempt.expires_at = now + (
            SAVE_SENT_WITHIN if attempt.sent_request_id else SAVE_WITHIN
        )
        with transaction.atomic():
            attempt.save()
            record(
                obj=attempt.cloud_idp or attempt,
                actor=attempt.started_by,
                action="consent",
                note=f"Verified the tenant {attempt.verified['tenant_id']}",
                now=now,
            )
    else:
        attempt.save(update_fields=["verified"])


def _verify_sign_in(attempt: ConsentRequest, now: datetime) -> bool:
    """Redeem the code and validate the ID token. False while another request does."""
    sealed = attempt.flow_sealed
    # The code works once: whoever empties the column redeems it.
    claimed = sealed and ConsentRequest.objects.filter(
        pk=attempt.pk, flow_sealed=sealed
    ).update(flow_sealed="")
    if not claimed:
        if attempt.answered_at and now - attempt.answered_at < timedelta(
            seconds=STEP_SECONDS
        ):
            return False
        raise errors.CodeRefused("The verification was interrupted.")
    flow = _unseal(attempt)
    attempt.flow_sealed = ""
    registration = attempt.registration
    cloud = clouds.cloud(attempt.cloud)
    with EntraSession(cloud, total_seconds=SESSION_SECONDS) as session:
        discovery = clouds.METADATA.discovery(cloud, flow["tenant"], session, now=now)
        # Microsoft looks at the credential before the code: a refused one leaves the
        # code to the next.
        raw = tokens.with_accepted(
            registration,
            lambda credential: redeem_code(
                discovery,
                client_id=registration.client_id,
                credential=credential,
                code=flow["code"],
                redirect_uri=f"{settings.CONNECTOR_URL}/code/",
                code_verifier=flow["code_verifier"],
                nonce=flow["nonce"],
                session=session,
            ),
            now=now,
            insist=True,
        )
        claims = validate_id_token(
            raw,
            cloud=cloud,
            client_id=registration.client_id,
            nonce=flow["nonce"],
            jwks=clouds.METADATA.signing_keys(discovery, session),
            now=now,
            expected_tenant=flow["tenant"],
        )
    _check_expected(attempt, claims.tenant_id)
    attempt.verified = {
        "tenant_id": claims.tenant_id,
        "person": {
            "name": claims.name,
            "user_name": claims.preferred_username,
            "object_id": claims.object_id,
        },
        "login_hint": claims.login_hint,
    }
    return True


def _check_expected(attempt: ConsentRequest, tenant: str) -> None:
    """Renewed consent is for the connection's tenant; a new one for a new tenant."""
    if attempt.cloud_idp is not None:
        if tenant != attempt.cloud_idp.tenant_id:
            raise OtherTenant(
                f"Consent was given for another tenant ({tenant}) than the one of "
                "this connection.",
                advice="Nothing was changed. Sign in as an administrator of the "
                "connection's tenant, or make a new connection.",
            )
        return
    other = CloudIdentityProvider.objects.filter(tenant_id=tenant).first()
    if other is not None:
        raise AlreadyConnected(other)


def _verify_tenant(attempt: ConsentRequest, now: datetime) -> bool:
    """Get a fresh app-only token and read the tenant's own id with it."""
    cloud = clouds.cloud(attempt.cloud)
    with EntraSession(cloud, total_seconds=SESSION_SECONDS) as session:
        try:
            organization = _graph(attempt, session)[0].organization()
        except (errors.ConsentMissing, errors.PermissionMissing) as error:
            return _try_again(attempt, error)
    if organization.id != attempt.verified["tenant_id"]:
        raise OtherTenant(
            "Microsoft Graph answered for another tenant than the one that consented.",
            advice="Nothing was saved. Start again.",
        )
    attempt.verified = {
        **attempt.verified,
        "tenant_name": organization.display_name or "",
        "domains": _domains(
            [(d.name, d.is_default) for d in organization.verified_domains]
        ),
    }
    return True


def _domains(domains: Sequence[tuple[str, bool]]) -> list[str]:
    """The default domain first: it is the one people know the tenant by."""
    return [name for name, _ in sorted(domains, key=lambda each: not each[1])]


def _verify_permissions(attempt: ConsentRequest, now: datetime) -> bool:
    cloud = clouds.cloud(attempt.cloud)
    with EntraSession(cloud, total_seconds=SESSION_SECONDS) as session:
        graph, accepted = _graph(attempt, session)
        probes = graph.probe_permissions()
        roles = accepted.token().roles()
    missing = next((probe.error for probe in probes if probe.error), None)
    if missing is not None:
        return _try_again(attempt, missing)
    attempt.verified = {
        **attempt.verified,
        "permissions": evidence(probes, signed_in_at=now, now=now),
        "roles": None if roles is None else sorted(roles),
        "used": {DELEGATED_PERMISSION: 1, **graph.used},
    }
    return True


def _try_again(attempt: ConsentRequest, error: errors.EntraError) -> bool:
    """Return False to be asked again, or raise the error when it was the last try."""
    tries = attempt.verified.get("tries", 0) + 1
    if tries >= PROBE_TRIES:
        raise error
    attempt.verified = {**attempt.verified, "tries": tries}
    attempt.save(update_fields=["verified"])
    return False


def evidence(
    probes: Sequence[PermissionProbe], *, signed_in_at: datetime | None, now: datetime
) -> list[dict[str, Any]]:
    """Return what is known of each permission, as it is stored and shown."""
    found: dict[str, dict[str, Any]] = {}
    if signed_in_at is not None:
        found[DELEGATED_PERMISSION] = {
            "permission": DELEGATED_PERMISSION,
            "granted": True,
            "what": "The administrator signed in",
            "at": signed_in_at.isoformat(),
        }
    for probe in probes:
        entry = found.setdefault(
            probe.permission,
            {
                "permission": probe.permission,
                "granted": True,
                "what": probe.what,
                "at": now.isoformat(),
            },
        )
        if entry["what"] != probe.what:
            entry["what"] = f"{entry['what']}; {probe.what[0].lower()}{probe.what[1:]}"
        entry["granted"] = entry["granted"] and probe.granted
        if probe.error is not None:
            entry["reference"] = probe.error.reference
    return list(found.values())


def _graph(
    attempt: ConsentRequest, session: EntraSession
) -> tuple[GraphClient, tokens.AcceptedTokens]:
    """Microsoft Graph with a cache of its own: a token from before consent lacks it."""
    accepted = tokens.AcceptedTokens(
        attempt.registration,
        attempt.verified["tenant_id"],
        session=session,
        cache=TokenCache(clouds.METADATA),
        insist=True,
    )
    graph = GraphClient(
        cloud=clouds.cloud(attempt.cloud),
        tokens=accepted,
        session=session,
        priority="high",
    )
    return graph, accepted


@transaction.atomic
def fail(attempt: ConsentRequest, failure: Failure, *, now: datetime) -> None:
    """End an attempt. Nothing of it is kept but the reason."""
    attempt.step = Step.FAILED
    attempt.flow_sealed = ""
    attempt.failure = {
        "kind": failure.kind,
        "message": failure.message,
        "advice": failure.advice,
        "code": failure.code,
        "request_id": failure.request_id,
        "connection": failure.connection,
    }
    attempt.verified = {
        name: attempt.verified[name]
        for name in ("done", "login_hint")
        if name in attempt.verified
    }
    attempt.save()
    record(
        obj=attempt.cloud_idp or attempt,
        actor=attempt.started_by,
        action="consent",
        note=f"Not connected: {failure.message}",
        details={"reference": ["", failure.code], "request": ["", failure.request_id]},
        now=now,
    )


# --- The end of the session with Microsoft -----------------------------------------


def end_url(attempt: ConsentRequest, *, now: datetime) -> str:
    """Return the connector's address that ends this browser's session."""
    signed = messages.sign_end(
        EndRequest(
            console_id=console_id(),
            return_url=return_url(),
            cloud=attempt.cloud,
            tenant=attempt.verified.get("tenant_id", ""),
            login_hint=attempt.verified.get("login_hint", ""),
            reference=str(attempt.pk),
        ),
        audience=configuration.connector_id(),
        key=signing_key("console"),
        now=now,
    )
    return f"{settings.CONNECTOR_URL}/end/?{urlencode({'request': signed})}"


def take_ending(
    answer: Answer, *, browser: str, actor: Any | None, now: datetime
) -> ConsentRequest:
    """Note that the session with Microsoft was ended.

    Raises:
        AnswerRefused
    """
    attempt = attempt_of(answer)
    if attempt is None:
        raise AnswerRefused(Refusal.UNKNOWN)
    _check_whose(attempt, browser=browser, actor=actor)
    if answer.problem is None and attempt.session_ended_at is None:
        attempt.session_ended_at = now
        attempt.verified.pop("login_hint", None)
        attempt.save(update_fields=["session_ended_at", "verified"])
    return attempt


# --- Save --------------------------------------------------------------------------


@transaction.atomic
def save(
    attempt: ConsentRequest,
    *,
    cloud_idp: CloudIdentityProvider,
    mappings: AttributeMappings,
    actor: Any,
    now: datetime,
) -> SyncRun:
    """Save a verified tenant as a connection; its first full read is requested.

    `cloud_idp` and `mappings` come from the form: display name, options, mappings.
    A deleted connection of the tenant that was not erased is taken up again: it grants
    nothing and decides nothing before everything was read once more.

    Raises:
        AttemptOver: saved by another tab, failed, or verified over an hour ago.
        AlreadyConnected: the tenant was connected meanwhile.
        RegistrationInUse: another connection took the application meanwhile.
    """
    _claim(attempt, now=now)
    check_free(attempt.registration, None)
    verified = attempt.verified
    other = CloudIdentityProvider.objects.filter(
        tenant_id=verified["tenant_id"]
    ).first()
    if other is not None:
        raise AlreadyConnected(other)
    deleted = deleted_connections(verified["tenant_id"], now=now)
    earlier = deleted.select_for_update(of=("self",)).first()
    if earlier is not None:
        _take_up(earlier, cloud_idp, mappings)
    cloud_idp.cloud = attempt.cloud
    cloud_idp.tenant_id = verified["tenant_id"]
    cloud_idp.connected_by = actor
    cloud_idp.status = CloudIdentityProvider.Status.ACTIVE
    cloud_idp.status_since = now
    cloud_idp.checked_at = now
    cloud_idp.next_check_at = now + status.CHECKED_EVERY
    _apply_consent(cloud_idp, attempt)
    cloud_idp.save()
    mappings.cloud_idp = cloud_idp
    mappings.save()
    if earlier is not None:
        # As when they are changed: what is not mapped any more is not kept.
        forget_attributes(cloud_idp, mapped_anew(earlier.mappings, mappings), now=now)
    record(
        obj=cloud_idp,
        actor=actor,
        action="created",
        note=f"Connected the tenant {cloud_idp.tenant_name}"
        + (" again" if earlier is not None else ""),
        details={
            "tenant_id": ["", cloud_idp.tenant_id],
            "consented_by": ["", cloud_idp.consented_by_upn],
        },
        now=now,
    )
    attempt.cloud_idp = cloud_idp
    attempt.save(update_fields=["cloud_idp"])
    permission_use.note(cloud_idp, Feature.CONSENT, verified.get("used", {}), now=now)
    run = request_sync(
        cloud_idp=cloud_idp,
        kind=SyncRun.Kind.FULL,
        trigger=SyncRun.Trigger.CONNECTED,
        actor=actor,
        now=now,
    )
    for dependents in registered():
        dependents.after_connection_change(cloud_idp.tenant_id, now=now)
    return run


def deleted_connections(
    tenant_id: str, *, now: datetime
) -> QuerySet[CloudIdentityProvider]:
    """Return the tenant's deleted connection, unless its day to be erased has come."""
    return (
        CloudIdentityProvider.with_deleted.filter(
            tenant_id=tenant_id, deleted_at__isnull=False, erase_at__gt=now
        )
        .select_related("mappings")
        .order_by("-deleted_at")
    )


def mapped_anew(before: AttributeMappings, after: AttributeMappings) -> dict[str, str]:
    """Return the attributes that another property fills, and which one does now."""
    return {
        field.name: getattr(after, field.name)
        for field in AttributeMappings._meta.fields
        if field.name not in ("id", "cloud_idp")
        and getattr(before, field.name) != getattr(after, field.name)
    }


def _take_up(
    earlier: CloudIdentityProvider,
    cloud_idp: CloudIdentityProvider,
    mappings: AttributeMappings,
) -> None:
    """Have the form's rows take the place of the deleted connection's, with its number.

    What was read of it stays, and counts for nothing before the next complete read.
    """
    cloud_idp.pk, mappings.pk = earlier.pk, earlier.mappings.pk
    for name in ("match_domains", "match_names_without_domain"):
        setattr(cloud_idp, name, getattr(earlier, name))
    cloud_idp.generation = earlier.generation
    cloud_idp.delta_selection = earlier.delta_selection
    cloud_idp.full_read_reason = "The tenant was connected again."


@transaction.atomic
def save_renewed(
    attempt: ConsentRequest, *, actor: Any, now: datetime
) -> CloudIdentityProvider:
    """Store renewed consent on the connection it was asked for.

    The application that was consented to is the one the connection uses from now on.

    Raises:
        AttemptOver, RegistrationInUse: see `save`.
    """
    _claim(attempt, now=now)
    if attempt.cloud_idp is None:
        raise AttemptOver
    check_free(attempt.registration, attempt.cloud_idp)
    cloud_idp = CloudIdentityProvider.objects.select_for_update().get(
        pk=attempt.cloud_idp.pk
    )
    before, roles = cloud_idp.consented_by_upn, cloud_idp.roles_granted
    used = cloud_idp.own_registration or find_registration(cloud_idp.cloud)
    _apply_consent(cloud_idp, attempt)
    # What was issued before lacks what is granted now.
    tokens.forget(cloud_idp)
    cloud_idp.checked_at = now
    cloud_idp.next_check_at = now + status.CHECKED_EVERY
    cloud_idp.failed_checks = 0
    cloud_idp.asked_to_wait_until = None
    status.heal(cloud_idp, now=now)
    cloud_idp.save(
        update_fields=[
            "tenant_name",
            "verified_domains",
            "consented_by_name",
            "consented_by_upn",
            "consented_by_object_id",
            "consented_at",
            "permissions_probed",
            "roles_granted",
            "roles_seen_at",
            "own_registration",
            *status.COLUMNS,
        ]
    )
    record(
        obj=cloud_idp,
        actor=actor,
        action="consent",
        note="Renewed consent",
        details={
            "consented_by": [before, cloud_idp.consented_by_upn],
            "permissions": [roles, cloud_idp.roles_granted],
        }
        | (
            {}
            if used == attempt.registration
            else {
                "client_id": [
                    used.client_id if used else "",
                    attempt.registration.client_id,
                ]
            }
        ),
        now=now,
    )
    permission_use.note(
        cloud_idp, Feature.CONSENT, attempt.verified.get("used", {}), now=now
    )
    return cloud_idp


def _claim(attempt: ConsentRequest, *, now: datetime) -> None:
    if now >= attempt.expires_at:
        raise AttemptOver
    saved = ConsentRequest.objects.filter(pk=attempt.pk, step=Step.VERIFIED).update(
        step=Step.SAVED
    )
    if not saved:
        raise AttemptOver
    attempt.step = Step.SAVED


def _apply_consent(cloud_idp: CloudIdentityProvider, attempt: ConsentRequest) -> None:
    verified = attempt.verified
    cloud_idp.tenant_name = verified["tenant_name"] or verified["tenant_id"]
    cloud_idp.verified_domains = verified["domains"]
    cloud_idp.consented_by_name = verified["person"]["name"]
    cloud_idp.consented_by_upn = verified["person"]["user_name"]
    cloud_idp.consented_by_object_id = verified["person"]["object_id"]
    cloud_idp.consented_at = attempt.answered_at or attempt.created_at
    cloud_idp.permissions_probed = verified["permissions"]
    cloud_idp.consented_client_id = attempt.registration.client_id
    if verified.get("roles") is not None:
        cloud_idp.roles_granted = verified["roles"]
        cloud_idp.roles_seen_at = cloud_idp.consented_at
    own = attempt.registration.for_one_connection
    cloud_idp.own_registration = attempt.registration if own else None
