"""Tokens for connections, by the first credential that Microsoft accepts.

The newest credential is tried first. One that Microsoft refuses is marked, shown, and
tried last from then on; while it is the only one, it is tried again after pauses that
grow, however many connections and processes ask.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.utils import timezone

from directory import clouds, credentials
from directory.entra import (
    AccessToken,
    Credential,
    EntraSession,
    GraphClient,
    KeptTokens,
    TokenCache,
    TokenSource,
    errors,
    means_expired,
)
from directory.entra.transport import Priority
from directory.models import (
    ApplicationCredential,
    ApplicationRegistration,
    CloudIdentityProvider,
)
from directory.registrations import (
    NoRegistration,
    RegistrationRefused,
    connections_of,
    registration_of,
)
from jamfidp.history.record import record
from jamfidp.notices.announce import announce, resolve
from jamfidp.notices.kinds import CREDENTIAL_EXPIRY

T = TypeVar("T")

# How long a refused credential rests: after the first refusal, the second, and so on.
# Microsoft needs minutes until a new one is known everywhere.
RESTS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)

PROOF_SECONDS = 20.0

_TOKENS = TokenCache(clouds.METADATA)


def rests_until(row: ApplicationCredential) -> datetime | None:
    """Return before when a refused credential is not tried again, or None."""
    if row.refused_at is None:
        return None
    return row.refused_at + RESTS[min(max(row.refusals, 1), len(RESTS)) - 1]


def with_accepted(
    found: ApplicationRegistration,
    use: Callable[[Credential], T],
    *,
    now: datetime,
    insist: bool = False,
) -> T:
    """Return what `use` makes of the first credential that Microsoft accepts.

    `use` raises errors.CredentialsRefused for one that Microsoft does not take; the
    refusal is kept. With `insist`, for a person who waits, refused ones do not rest.

    Raises:
        NoRegistration: there is no credential.
        errors.InvalidCredential, errors.CredentialsRefused: of the first one, when
            none is left; for one that rests, the refusal that is kept.
    """
    return _first_accepted(found, use, now=now, insist=insist)[1]


def _first_accepted(
    found: ApplicationRegistration,
    use: Callable[[Credential], T],
    *,
    now: datetime,
    insist: bool,
) -> tuple[ApplicationCredential, T]:
    problem: errors.IdentityError | None = None
    for row in credentials.in_order(credentials.of(found), now=now):
        until = rests_until(row)
        if not insist and until is not None and now < until:
            problem = problem or _kept_refusal(row, until)
            continue
        try:
            result = use(credentials.load(row))
        except errors.CredentialsRefused as refused:
            note_refusal(row, refused, now=now)
            problem = problem or refused
        except errors.InvalidCredential as unusable:
            problem = problem or unusable
        else:
            note_acceptance(row, now=now)
            return row, result
    raise problem or NoRegistration(
        "The Entra ID application has no secret, certificate or assertion."
    )


def _kept_refusal(
    row: ApplicationCredential, until: datetime
) -> errors.CredentialsRefused:
    return errors.CredentialsRefused(
        row.refused_detail,
        expired=_has_expired(row) or means_expired(row.refused_code),
        advice="Microsoft is not asked with it again before "
        f"{timezone.localtime(until):%H:%M}. Check the connection to ask at once, or "
        "add another credential under Settings > Entra ID application.",
        code=row.refused_code,
        request_id=row.refused_request_id,
    )


def _has_expired(row: ApplicationCredential) -> bool:
    """Tell whether a refused credential was past the end that is known of it.

    Microsoft has a number for expired secrets alone.
    """
    return (
        row.expires_at is not None
        and row.refused_at is not None
        and row.expires_at <= row.refused_at
    )


@transaction.atomic
def note_refusal(
    row: ApplicationCredential, refused: errors.CredentialsRefused, *, now: datetime
) -> None:
    """Keep that Microsoft refused a credential; the history says it once."""
    before = row.refused_at
    if row.expires_at is not None and row.expires_at <= now:
        refused.expired = True
    changes = {
        "refused_at": now,
        "refusals": min(row.refusals + 1, len(RESTS)),
        "refused_detail": refused.message,
        "refused_code": refused.code[:60],
        "refused_request_id": refused.request_id[:64],
    }
    if not _change(row, changes) or before is not None:
        # Another process noted it, or it was known.
        return
    record(
        obj=row.registration,
        actor=None,
        action="refused",
        note=f"Microsoft refused the {row}: {refused.message}",
        details={"reference": ["", refused.reference]},
        now=now,
    )
    announce(
        kind=CREDENTIAL_EXPIRY,
        title="Microsoft refuses a credential of an Entra ID application",
        body=f"The {row} of the application {row.registration.client_id} "
        f"({row.registration.cloud}) was refused. {refused.sentences()}\n\n"
        "When another credential is in use, that one is used from now on.",
        link=row.registration.get_absolute_url(),
        about=row.registration,
        key=row.refusal_key,
        now=now,
    )


@transaction.atomic
def note_acceptance(row: ApplicationCredential, *, now: datetime) -> None:
    """Forget a refusal, once Microsoft takes the credential."""
    if row.refused_at is None:
        return
    changes = {
        "refused_at": None,
        "refusals": 0,
        "refused_detail": "",
        "refused_code": "",
        "refused_request_id": "",
    }
    if _change(row, changes):
        record(
            obj=row.registration,
            actor=None,
            action="accepted",
            note=f"Microsoft accepts the {row} again",
            now=now,
        )
        resolve(row.refusal_key, now=now)


def _change(row: ApplicationCredential, changes: Mapping[str, Any]) -> bool:
    """Store what Microsoft said, unless another process was faster."""
    before = row.refused_at
    for name, value in changes.items():
        setattr(row, name, value)
    same = ApplicationCredential.objects.filter(pk=row.pk, refused_at=before)
    return bool(same.update(**changes))


class AcceptedTokens:
    """App-only tokens for a tenant, by the first credential that Microsoft accepts.

    A TokenProvider, made for one conversation: it stays with the credential that
    worked, and looks at the others when that one is refused.

    Raises, on `token`: what `with_accepted` raises, and what TokenSource does.
    """

    def __init__(
        self,
        found: ApplicationRegistration,
        tenant_id: str,
        *,
        session: EntraSession,
        cache: TokenCache,
        insist: bool = False,
        note: Callable[[AccessToken], None] = lambda token: None,
    ) -> None:
        self._found = found
        self._tenant_id = tenant_id
        self._session = session
        self._cache = cache
        self._insist = insist
        self._note = note
        self._accepted: tuple[ApplicationCredential, KeptTokens] | None = None

    def token(self, *, fresh: bool = False, claims: str | None = None) -> AccessToken:
        token = self._token(fresh=fresh, claims=claims)
        self._note(token)
        return token

    def _token(self, *, fresh: bool, claims: str | None) -> AccessToken:
        if self._accepted is not None:
            row, source = self._accepted
            try:
                return source.token(fresh=fresh, claims=claims)
            except errors.CredentialsRefused as refused:
                note_refusal(row, refused, now=timezone.now())
            except errors.InvalidCredential:
                # Unusable since then: the others are looked at.
                pass

        def ask(credential: Credential) -> tuple[KeptTokens, AccessToken]:
            source = KeptTokens(self._source_for(credential))
            return source, source.token(fresh=fresh, claims=claims)

        row, (source, token) = _first_accepted(
            self._found, ask, now=timezone.now(), insist=self._insist
        )
        self._accepted = (row, source)
        return token

    def _source_for(self, credential: Credential) -> TokenSource:
        return TokenSource(
            cloud=clouds.cloud(self._found.cloud),
            tenant=self._tenant_id,
            client_id=self._found.client_id,
            credential=credential,
            session=self._session,
            cache=self._cache,
        )


def for_connection(
    cloud_idp: CloudIdentityProvider,
    *,
    session: EntraSession,
    insist: bool = False,
    apart: bool = False,
) -> AcceptedTokens:
    """Return app-only tokens for a connection's tenant; they are shared per process.

    Those of a check stay `apart`: until it has ended well, the others go on with what
    they have.

    Raises:
        NoRegistration, clouds.CloudUnavailable
    """
    clouds.cloud(cloud_idp.cloud)
    return AcceptedTokens(
        registration_of(cloud_idp),
        cloud_idp.tenant_id,
        session=session,
        cache=TokenCache(clouds.METADATA) if apart else _TOKENS,
        insist=insist,
        note=lambda token: _note_issue(cloud_idp, token),
    )


def _note_issue(cloud_idp: CloudIdentityProvider, token: AccessToken) -> None:
    """Keep until when Microsoft may accept what it has issued to any process."""
    if not token.just_issued:
        return
    now = timezone.now()
    ends = now + timedelta(seconds=token.expires_in)
    known = CloudIdentityProvider.objects.filter(pk=cloud_idp.pk)
    known.update(token_issued_at=now)
    known.exclude(token_expires_at__gte=ends).update(token_expires_at=ends)


def prove(row: ApplicationCredential, *, now: datetime) -> CloudIdentityProvider | None:
    """Ask Microsoft for a token with this credential alone.

    Returns the connection in whose tenant it was accepted, or None when no enabled
    connection uses the registration: without a tenant there is nobody to ask.

    Raises:
        errors.CredentialsRefused: kept, when the credential is in use.
        errors.EntraError: it says nothing about the credential.
    """
    found = row.registration
    tenant = next((each for each in connections_of(found) if each.enabled), None)
    if tenant is None:
        return None
    cloud = clouds.cloud(found.cloud)
    try:
        with EntraSession(cloud, total_seconds=PROOF_SECONDS) as session:
            TokenSource(
                cloud=cloud,
                tenant=tenant.tenant_id,
                client_id=found.client_id,
                credential=credentials.load(row),
                session=session,
                cache=TokenCache(clouds.METADATA),
            ).token(fresh=True)
    except errors.CredentialsRefused as refused:
        if row.in_use:
            note_refusal(row, refused, now=now)
        raise
    if row.in_use:
        note_acceptance(row, now=now)
    return tenant


def put_in_use(row: ApplicationCredential, *, actor: Any, now: datetime) -> bool:
    """Put a generated certificate in use, unless Microsoft does not take it.

    Returns whether Microsoft has taken it; False when nobody could be asked.

    Raises:
        RegistrationRefused: Microsoft does not know it; or see credentials.put_in_use.
        credentials.CredentialsUnreadable
    """
    try:
        proven = prove(row, now=now) is not None
    except errors.CredentialsRefused as refused:
        raise RegistrationRefused(
            "__all__",
            f"Microsoft does not take this certificate ({refused.reference}). Upload "
            "it to the registration; it can take some minutes until Microsoft knows "
            "it. What was in use stays in use.",
        ) from None
    except errors.EntraError:
        # It says nothing about the certificate, or is said by what follows.
        proven = False
    credentials.put_in_use(row, actor=actor, now=now)
    return proven


def forget(cloud_idp: CloudIdentityProvider) -> None:
    """Have the next call of this process ask for a new token.

    A token lacks, for as long as it lives, what was consented to after it was issued.
    """
    try:
        found = registration_of(cloud_idp)
        cloud = clouds.cloud(cloud_idp.cloud)
    except (NoRegistration, clouds.CloudUnavailable):
        # Without a registration there is no token either.
        return
    for row in found.credentials.filter(in_use=True):
        try:
            credential = credentials.load(row)
        except errors.InvalidCredential:
            continue
        _TOKENS.forget(cloud, cloud_idp.tenant_id, found.client_id, credential)


def graph_client(
    cloud_idp: CloudIdentityProvider,
    *,
    session: EntraSession,
    priority: Priority = "normal",
    insist: bool = False,
) -> GraphClient:
    """Return Microsoft Graph for a connection's tenant. Raises as `for_connection`."""
    return GraphClient(
        cloud=clouds.cloud(cloud_idp.cloud),
        tokens=for_connection(cloud_idp, session=session, insist=insist),
        session=session,
        priority=priority,
    )
