"""The status of a connection as its pages show it: sentence, consequences, buttons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.urls import reverse
from django.utils import timezone

from directory import clouds, freshness, registrations, sent_requests, status_table
from directory.models import CloudIdentityProvider
from directory.status_table import Meaning, Remedy
from jamfidp.access import ConsoleUser
from jamfidp.components import Check
from jamfidp.history.record import entries_for

CHANGE = "directory.change_cloudidentityprovider"
DELETE = "directory.delete_cloudidentityprovider"
SEE_APPLICATION = "directory.view_applicationregistration"

Status = CloudIdentityProvider.Status


@dataclass(frozen=True, slots=True)
class Button:
    """A way to do what a status asks for; the first is the one to take."""

    label: str
    url: str
    icon: str
    posts: bool = False
    outside: bool = False


@dataclass(frozen=True, slots=True)
class StatusShown:
    """What the page of a connection says of its status, beside the sentence."""

    meaning: Meaning
    since: datetime | None
    what_to_do: str
    evidence: str
    reference: str
    seen_at: datetime | None
    until: str
    older_tokens: str
    waits_until: datetime | None
    buttons: Sequence[Button]


def status_shown(
    cloud_idp: CloudIdentityProvider, *, viewer: ConsoleUser, now: datetime
) -> StatusShown | None:
    """Return what there is to say; None for a connection that works."""
    status = status_table.shown_status(cloud_idp)
    if status == Status.ACTIVE:
        return None
    meaning = status_table.MEANINGS[status]
    disabled = status == status_table.DISABLED
    return StatusShown(
        meaning=meaning,
        since=_disabled_since(cloud_idp) if disabled else cloud_idp.status_since,
        what_to_do=status_table.what_to_do(cloud_idp),
        evidence=_disabled_by(cloud_idp) if disabled else cloud_idp.status_detail,
        reference="" if disabled else _reference(cloud_idp),
        seen_at=None if disabled else cloud_idp.status_seen_at,
        until="" if disabled else _privileges(cloud_idp, now),
        older_tokens=_older_tokens(cloud_idp, now) if meaning.older_tokens else "",
        waits_until=_waits_until(cloud_idp, now),
        buttons=_buttons(cloud_idp, meaning, viewer=viewer, now=now),
    )


def _disabled_entry(cloud_idp: CloudIdentityProvider) -> Any:
    return entries_for(cloud_idp).filter(action="disabled").first()


def _disabled_since(cloud_idp: CloudIdentityProvider) -> datetime | None:
    entry = _disabled_entry(cloud_idp)
    return None if entry is None else entry.at


def _disabled_by(cloud_idp: CloudIdentityProvider) -> str:
    entry = _disabled_entry(cloud_idp)
    return "" if entry is None else f"Switched off by {entry.actor_name}."


def _reference(cloud_idp: CloudIdentityProvider) -> str:
    request = cloud_idp.status_request_id
    parts = (cloud_idp.status_code, f"request {request}" if request else "")
    return ", ".join(filter(None, parts))


def _moment(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%-d %B %Y, %H:%M}"


def _privileges(cloud_idp: CloudIdentityProvider, now: datetime) -> str:
    until = freshness.privileges_until(cloud_idp)
    if until is None:
        return "Nothing was read yet: no privileges are held through it."
    if until <= now:
        return (
            f"Privileges held through it are suspended since {_moment(until)}: the last "
            "good read is too old."
        )
    return (
        f"Privileges held through it last until {_moment(until)}, unless it is read "
        "again before that."
    )


def _older_tokens(cloud_idp: CloudIdentityProvider, now: datetime) -> str:
    """Say how long what Microsoft issued before may still open Microsoft Graph."""
    until = cloud_idp.token_expires_at
    if until is None:
        return "No token is known that was issued before."
    if until <= now:
        return f"Tokens issued before have ended on {_moment(until)}."
    return (
        f"Tokens issued before may be accepted until {_moment(until)} at the latest: "
        "reads and look-ups can go on until then."
    )


def _waits_until(cloud_idp: CloudIdentityProvider, now: datetime) -> datetime | None:
    until = cloud_idp.asked_to_wait_until
    return until if until is not None and until > now and cloud_idp.enabled else None


# --- Buttons -----------------------------------------------------------------------


def _buttons(
    cloud_idp: CloudIdentityProvider,
    meaning: Meaning,
    *,
    viewer: ConsoleUser,
    now: datetime,
) -> Sequence[Button]:
    """The buttons that the person may press, in the order of the table."""
    made = [
        _MAKERS[remedy](cloud_idp, now)
        for remedy in meaning.remedies
        if viewer.has_perm(_NEEDED.get(remedy, CHANGE))
    ]
    return [button for button in made if button is not None]


def _consent(cloud_idp: CloudIdentityProvider, now: datetime) -> Button:
    asked_before = cloud_idp.status != Status.PENDING_CONSENT
    return Button(
        "Grant consent again" if asked_before else "Grant consent",
        reverse("directory:cloud-idp-consent", args=[cloud_idp.pk]),
        "shield-check",
        posts=True,
    )


def _request(cloud_idp: CloudIdentityProvider, now: datetime) -> Button:
    for sent in sent_requests.pending(now=now):
        if sent.cloud_idp_id == cloud_idp.pk:
            return Button(
                "Look at the request that was sent", sent.get_absolute_url(), "send"
            )
    return Button(
        "Send a request",
        reverse("directory:cloud-idp-request", args=[cloud_idp.pk]),
        "send",
    )


def _credentials(cloud_idp: CloudIdentityProvider, now: datetime) -> Button:
    try:
        url = registrations.registration_of(cloud_idp).get_absolute_url()
    except registrations.NoRegistration:
        url = reverse(
            "directory:application-registration-cloud", args=[cloud_idp.cloud]
        )
    return Button("Go to the credentials", url, "key")


def _portal(cloud_idp: CloudIdentityProvider, now: datetime) -> Button | None:
    try:
        cloud = clouds.cloud(cloud_idp.cloud)
    except clouds.CloudUnavailable:
        return None
    if cloud.loopback:
        # The sandbox has no portal.
        return None
    return Button(
        "Open Microsoft's portal",
        f"{cloud.portal_root}/{cloud_idp.tenant_id}",
        "external-link",
        outside=True,
    )


def _check(cloud_idp: CloudIdentityProvider, now: datetime) -> Button | None:
    if _waits_until(cloud_idp, now) is not None:
        return None
    return Button(
        "Check now",
        reverse("directory:cloud-idp-check", args=[cloud_idp.pk]),
        "plug-connected",
        posts=True,
    )


def _enable(cloud_idp: CloudIdentityProvider, now: datetime) -> Button:
    return Button(
        "Enable",
        reverse("directory:cloud-idp-enable", args=[cloud_idp.pk]),
        "player-play",
    )


def _delete(cloud_idp: CloudIdentityProvider, now: datetime) -> Button:
    return Button(
        "Delete the connection",
        reverse("directory:cloud-idp-delete", args=[cloud_idp.pk]),
        "trash",
    )


_MAKERS: Mapping[Remedy, Callable[[CloudIdentityProvider, datetime], Button | None]] = {
    Remedy.CONSENT: _consent,
    Remedy.REQUEST: _request,
    Remedy.CREDENTIALS: _credentials,
    Remedy.PORTAL: _portal,
    Remedy.CHECK: _check,
    Remedy.ENABLE: _enable,
    Remedy.DELETE: _delete,
}
_NEEDED: Mapping[Remedy, str] = {
    Remedy.CREDENTIALS: SEE_APPLICATION,
    Remedy.DELETE: DELETE,
}


# --- In the frame of every tab -----------------------------------------------------


def sentence_of(cloud_idp: CloudIdentityProvider, now: datetime) -> str:
    """The status in a sentence, who gave consent, and the age of what was read."""
    parts = [
        f"Consent given by {cloud_idp.consented_by_name or cloud_idp.consented_by_upn} "
        f"on {timezone.localtime(cloud_idp.consented_at):%-d %B %Y}."
    ]
    if status_table.shown_status(cloud_idp) != Status.ACTIVE:
        parts.insert(0, status_table.meaning_of(cloud_idp).sentence)
    if cloud_idp.last_good_read_at is None:
        parts.append("The directory has not been read yet.")
    else:
        parts.append(f"Last good read {_ago(now - cloud_idp.last_good_read_at)}.")
    return " ".join(parts)


def _ago(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute ago"
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    raise AssertionError("unreachable: a minute is the smallest unit")


def check_of(cloud_idp: CloudIdentityProvider) -> Check:
    """The line of evidence on the last check with a token of its own."""
    label, at = "Microsoft", cloud_idp.checked_at
    if not cloud_idp.enabled:
        text = "Not asked while disabled." + (" Last checked" if at else "")
        return Check(label, "unknown", text, as_of=at)
    status = cloud_idp.status
    if status != Status.ACTIVE:
        state: Literal["attention", "bad"] = (
            "attention" if status_table.MEANINGS[status].look == "attention" else "bad"
        )
        due = cloud_idp.next_check_at
        text = (
            f"Asked again by itself at {timezone.localtime(due):%H:%M}. " if due else ""
        )
        if at is None:
            return Check(label, state, f"{text}Not checked yet.")
        return Check(label, state, f"{text}Last checked", as_of=at)
    if at is None:
        return Check(label, "unknown", "Not checked with a token of its own yet.")
    return Check(label, "good", "Issues tokens. Checked", as_of=at)
