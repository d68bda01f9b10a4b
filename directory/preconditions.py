"""What has to be true before a tenant can be connected, each with its evidence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from directory import clouds, credentials, freshness
from directory.entra import Cloud, EntraSession, TlsInUse, errors
from directory.entra.answers import foreign_answer, is_json
from directory.models import ApplicationRegistration, WorkerHeartbeat
from jamfidp import crypto
from jamfidp.components import Check

CLOCK_TOLERANCE = timedelta(minutes=2)
REACH_SECONDS = 10.0
# What a worker said counts as long; a fresh answer is waited for two seconds.
WORKER_ANSWER_AGE = timedelta(minutes=1)
WORKER_LOOKS, WORKER_LOOK_SECONDS = 10, 0.2

HOSTING_TIERS = {
    "STANDARD_CLOUD": "Standard Cloud",
    "PREMIUM_CLOUD": "Premium Cloud",
    "ON_PREMISES": "On premises",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The checks, and whether one of them stands in the way."""

    checks: Sequence[Check]

    @property
    def met(self) -> bool:
        return all(check.state != "bad" for check in self.checks)


def local(
    cloud: Cloud,
    *,
    registration: ApplicationRegistration | None,
    browser_address: str,
    now: datetime,
) -> list[Check]:
    """Check what the console knows by itself, without asking Microsoft.

    `registration` is the one that consent would be asked for; None: there is none.
    """
    return [
        _hosting(),
        _address(cloud, browser_address),
        _encryption(),
        _application(cloud, registration, now),
    ]


def check(
    cloud: Cloud,
    *,
    registration: ApplicationRegistration | None,
    browser_address: str,
    ask_worker: Callable[[str], None],
    now: datetime,
) -> Preconditions:
    """Check everything; Microsoft's hosts are asked, for ten seconds at most.

    `ask_worker` has a worker call `record_hosts`; its answer is waited for shortly.
    """
    login, graph, clock = _reached(cloud, now)
    return Preconditions(
        checks=[
            *local(
                cloud,
                registration=registration,
                browser_address=browser_address,
                now=now,
            ),
            login,
            graph,
            _worker(cloud, ask_worker, now),
            clock,
        ]
    )


def _hosting() -> Check:
    tier = HOSTING_TIERS.get(settings.HOSTING_TIER, settings.HOSTING_TIER)
    if settings.HOSTING_TIER in ("STANDARD_CLOUD", "PREMIUM_CLOUD"):
        return Check("Hosting tier", "good", f"{tier}.")
    return Check(
        "Hosting tier",
        "bad",
        f"{tier}. Entra ID needs an environment hosted in Standard Cloud or Premium "
        "Cloud. Set HOSTING_TIER when this console is hosted so.",
    )


def _address(cloud: Cloud, browser_address: str) -> Check:
    label, fixed = "Address of the console", settings.CONSOLE_URL
    if browser_address != fixed:
        return Check(
            label,
            "bad",
            f"Your browser shows {browser_address}, and Microsoft's answer comes to "
            f"{fixed}. Open the console there, or correct CONSOLE_URL.",
        )
    if fixed.startswith("https://"):
        return Check(label, "good", f"{fixed}, the same in your browser.")
    if cloud.loopback:
        return Check(
            label,
            "good",
            f"{fixed}, the same in your browser. Plain http on this machine is "
            "accepted because the cloud is the sandbox.",
        )
    return Check(
        label,
        "attention",
        f"{fixed}, the same in your browser. Plain http works on this machine alone; "
        "give the console an https address before others use it.",
    )


def _encryption() -> Check:
    if crypto.keys_available():
        return Check("Encryption key", "good", "Secrets are encrypted at rest.")
    return Check(
        "Encryption key",
        "bad",
        "No encryption key is configured, so no secret can be kept. Set "
        "ENCRYPTION_KEYS and restart the console.",
    )


def _application(
    cloud: Cloud, found: ApplicationRegistration | None, now: datetime
) -> Check:
    label = "Entra ID application"
    if found is None:
        return Check(
            label,
            "bad",
            "No application registration is entered for this cloud. Enter it.",
            reverse("directory:application-registration-cloud", args=[cloud.key]),
        )
    url = found.get_absolute_url()
    try:
        credentials.require_one(found)
    except errors.InvalidCredential as error:
        return Check(label, "bad", f"{error.message} {error.advice}", url)
    row = credentials.first(found, now=now)
    kind = row.get_kind_display().lower() if row else "credential"
    until = row.expires_at if row else None
    return Check(
        label,
        "good",
        f"A {kind} is entered for client ID {found.client_id}"
        + (f"; it expires on {until:%-d %B %Y}." if until else "."),
        url,
    )


def _reached(cloud: Cloud, now: datetime) -> tuple[Check, Check, Check]:
    """Ask both hosts of the cloud; the clock is compared with the first answer."""
    clock = Check(
        "Clock", "unknown", "Not compared: Microsoft's sign-in host did not answer."
    )
    spoken: dict[str, str] = {}

    def note(seen: TlsInUse) -> None:
        spoken[seen.host] = seen.protocol

    def host(label: str, root: str, path: str) -> tuple[Check, str]:
        try:
            answer = session.get(f"{root}{path}")
            if not is_json(answer):
                raise foreign_answer(answer, label)
        except errors.EntraError as error:
            return Check(label, "bad", f"{root}: {error.message} {error.advice}"), ""
        name = urlsplit(root).hostname or ""
        proxy = "" if cloud.loopback else cloud.egress.proxy_shown(name)
        through = f", through the proxy {proxy}" if proxy else ""
        over = spoken.get(name, "TLS")
        text = f"{root} answers the console over {over}{through}."
        return Check(label, "good", text), answer.headers.get("Date", "")

    with EntraSession(
        cloud, total_seconds=REACH_SECONDS, attempts=1, tls_observer=note
    ) as session:
        login, date = host(
            "Microsoft's sign-in host",
            cloud.login_root,
            "/organizations/v2.0/.well-known/openid-configuration",
        )
        if login.state == "good":
            clock = _clock(date, now)
        # Without a token Graph answers 401, which is an answer.
        graph, _date = host("Microsoft Graph", cloud.graph_root, "/v1.0/organization")
    return login, graph, clock


def _clock(date: str, now: datetime) -> Check:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return Check("Clock", "unknown", "Microsoft's answer carries no time.")
    apart = abs(now - moment)
    seconds = int(apart.total_seconds())
    if apart <= CLOCK_TOLERANCE:
        return Check(
            "Clock",
            "good",
            "The console's clock agrees with Microsoft's."
            if seconds <= 1
            else f"The console's clock is {seconds} seconds off Microsoft's; 120 are "
            "tolerated.",
        )
    return Check(
        "Clock",
        "bad",
        f"The console's clock is {seconds} seconds off Microsoft's. Tokens are checked "
        "by the clock; have the server set its clock by NTP.",
    )


def _worker(cloud: Cloud, ask_worker: Callable[[str], None], now: datetime) -> Check:
    workers = freshness.workers(now)
    if not workers.running:
        heard = (
            "The last one went silent."
            if workers.last_heard_at
            else "None was ever heard of."
        )
        return Check(
            "Worker",
            "attention",
            f"No worker is running. {heard} You can connect, and the first read waits "
            "until one starts.",
            as_of=workers.last_heard_at,
        )
    answer = _hosts_of_worker(cloud, workers.alive, now)
    if answer is None:
        ask_worker(cloud.key)
        for _ in range(WORKER_LOOKS):
            time.sleep(WORKER_LOOK_SECONDS)
            answer = _hosts_of_worker(cloud, workers.alive, now)
            if answer is not None:
                break
    if answer is None:
        return Check(
            "Worker",
            "unknown",
            "A worker is running. It was asked whether it reaches Microsoft's hosts, "
            "and has not answered yet. Check again in a moment.",
            as_of=workers.last_heard_at,
        )
    at, problem = answer
    if problem:
        return Check("Worker", "bad", f"The worker does not reach {problem}", as_of=at)
    return Check(
        "Worker", "good", "A worker is running and reaches both hosts.", as_of=at
    )


def _hosts_of_worker(
    cloud: Cloud, alive: Sequence[str], now: datetime
) -> tuple[datetime, str] | None:
    """Return what a living worker last said of a cloud, unless it is too old."""
    for row in WorkerHeartbeat.objects.filter(name__in=alive):
        said = row.hosts.get(cloud.key)
        if said is not None:
            at = datetime.fromisoformat(said["at"])
            if at > now - WORKER_ANSWER_AGE:
                return at, said["problem"]
    return None


def record_hosts(*, worker: str, cloud_key: str, now: datetime) -> None:
    """Try the hosts of a cloud from a worker, and keep the outcome in its row."""
    login, graph, _clock = _reached(clouds.cloud(cloud_key), now)
    problem = next(
        (check.evidence for check in (login, graph) if check.state == "bad"), ""
    )
    with transaction.atomic():
        row, _ = WorkerHeartbeat.objects.select_for_update().get_or_create(
            name=worker, defaults={"at": now}
        )
        row.hosts = {
            **row.hosts,
            cloud_key: {"at": timezone.now().isoformat(), "problem": problem},
        }
        row.save(update_fields=["hosts"])
