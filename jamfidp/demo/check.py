"""The whole job over HTTP, as a person would do it without JavaScript.

One line a step. A step that fails ends the check: the ones after it need what it made.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from directory.sandbox import company
from jamfidp.demo import canaries, processes, story
from jamfidp.demo.browsing import Browser, NotOnPage, Page
from jamfidp.demo.processes import Installation

Say = Callable[[str], Any]
SYNC_SECONDS = 90
# The story gives the first computers to the named people, in their order.
DEVICE_OF_MILO, DEVICE_OF_ANA, DEVICE_OF_LAYLA = "FHC-0002", "FHC-0003", "FHC-0005"


class StepFailed(Exception):
    """What was expected did not come true."""


@dataclass
class Job:
    """What the steps share: who browses, and addresses found on the way."""

    installation: Installation
    admin: Browser = field(default_factory=Browser)
    person: Browser = field(default_factory=Browser)
    addresses: dict[str, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        return f"{self.installation.console_url}{path}"

    def control(self, method: str, path: str, json: Any = None) -> Any:
        """Change the sandbox's directory, as its own administrators would."""
        facts = self.installation.sandbox_facts
        session = requests.Session()
        session.trust_env = False
        answer = session.request(
            method,
            f"{facts['url']}/control/{path}",
            json=json,
            headers={"X-Sandbox-Key": facts["control_key"]},
            verify=facts["ca_file"],
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_for_sync(self, page: Page) -> Page:
        """Reload a sync run's page until it says how it ended."""
        deadline = time.monotonic() + SYNC_SECONDS
        while time.monotonic() < deadline:
            page = self.admin.open(page.url)
            if "Succeeded" in page.text:
                return page
            if "Failed" in page.text:
                raise StepFailed(f"The sync failed: {page.text[-600:]}")
            time.sleep(0.3)
        raise StepFailed(
            f"The sync did not end in {SYNC_SECONDS} s: {page.text[-600:]}"
        )


def sign_in_locally(job: Job) -> None:
    job.admin.open(job.at("/login/"))
    job.admin.submit(
        "username",
        {
            "username": story.ADMINISTRATOR,
            "password": job.installation.administrator_password,
        },
    ).says("From an empty console to a scoped fleet")


def consent_at_microsoft(job: Job) -> None:
    admin = job.admin
    admin.open(job.at("/settings/cloud-idps/"))
    admin.open(job.at("/settings/cloud-idps/new/"))
    admin.submit("Next")
    admin.follow("Next").says("User.Read.All", "GroupMember.Read.All")
    admin.submit("Begin").says("User.Read.All")
    admin.follow("Continue to Microsoft").says("Sign in")
    admin.submit("username", {"username": company.GRACE.upn})
    admin.submit("password", {"password": company.GRACE.password})
    admin.submit("Accept", {"action": "accept"}).says(job.installation.console_url)


def verify_and_save(job: Job) -> None:
    admin = job.admin
    page = admin.follow("Continue").says("Verification")
    if "code=" in page.url or "?" in page.url:
        raise StepFailed(f"The address still holds an answer: {page.url}")
    deadline = time.monotonic() + 30
    while "Verify now" in page.text:
        page = admin.submit("Verify now")
        if time.monotonic() > deadline:
            raise StepFailed(f"Verification did not end: {page.text[-600:]}")
    page.says("End the session")
    admin.follow("End the session").says(
        company.FERNHILL.display_name,
        company.FERNHILL_DOMAIN,
        company.GRACE.display_name,
    )
    page = admin.submit("Save").says("Active", company.FERNHILL.display_name)
    job.addresses["connection"] = page.url


def read_everything(job: Job) -> None:
    page = job.admin.open(job.at("/activity/sync-runs/"))
    job.wait_for_sync(job.admin.open(page.link("Run")))
    job.admin.open(job.addresses["connection"]).says("Last good read")


def browse(job: Job) -> None:
    admin = job.admin
    admin.open(job.at("/users/?q=ana+ruiz")).says("Ana Ruiz")
    admin.follow("Ana Ruiz").says("Frontend", "Engineering")
    admin.open(job.at("/groups/?q=contractors")).says(
        "contractors.it@fernhill.example", "contractors.design@fernhill.example"
    )
    admin.open(job.at("/groups/?q=engineering")).says("Engineering")
    admin.follow("Engineering").says("Frontend", "Directory as of")


def a_change_arrives(job: Job) -> None:
    job.control(
        "PATCH",
        f"tenants/{company.FERNHILL.tenant_id}/users/{company.TOMAS.object_id}",
        {"displayName": "Tomás Ibarra-Vidal"},
    )
    sync_now(job)
    job.admin.open(job.at("/users/?q=ibarra-vidal")).says("Tomás Ibarra-Vidal")


def sync_now(job: Job) -> None:
    job.admin.open(job.addresses["connection"])
    job.admin.follow("Sync")
    page = job.admin.submit("Sync now")
    job.wait_for_sync(page)


def scope_a_policy(job: Job) -> None:
    """Limit a policy to Engineering, nested, and exclude Ana Ruiz."""
    admin = job.admin
    admin.open(job.at("/computers/policies/?q=vpn"))
    admin.follow("VPN client")
    admin.follow("Scope")
    admin.follow("Edit the scope")
    admin.submit(
        "version",
        {"pick_kind_LIMITATION": "DIRECTORY_GROUP", "pick_q_LIMITATION": "engineering"},
        button="Search what to add to Limitations",
    ).says("103 members")
    admin.submit("version", {"add": _entry("LIMITATION", "GROUP", company.ENGINEERING)})
    admin.submit(
        "version",
        {"pick_kind_EXCLUSION": "DIRECTORY_USER", "pick_q_EXCLUSION": "ana ruiz"},
        button="Search what to add to Exclusions",
    ).says(company.ANA.upn)
    admin.submit("version", {"add": _entry("EXCLUSION", "USER", company.ANA)}).says(
        "leave the scope", "unknown"
    )
    page = admin.submit("version", button="Save").says("Engineering", "except Ana Ruiz")
    job.addresses["scope"] = page.url


def _entry(role: str, kind: str, who: company.Person | company.Group) -> str:
    tenant = company.FERNHILL.tenant_id
    return f"{role}|DIRECTORY_{kind}|{tenant}/{who.object_id}"


def see_who_and_why(job: Job) -> None:
    """Layla is in through nesting, Ana is excluded, Milo is in no limited group."""
    admin = job.admin
    for name, verdict, reason in (
        (DEVICE_OF_LAYLA, "In scope", "Design Systems"),
        (DEVICE_OF_MILO, "Not in scope", "Engineering"),
        (DEVICE_OF_ANA, "Not in scope", "exclusion"),
    ):
        admin.open(f"{job.addresses['scope']}?verdict=any&q={name}").says(verdict)
        admin.follow("Why").says(verdict, reason)


def give_privileges_to_a_directory_group(job: Job) -> None:
    admin = job.admin
    admin.open(job.at("/settings/account-groups/"))
    admin.follow("Mac Admins")
    admin.follow("Bind a directory group")
    here = admin.open(admin.here.url + "?q=mac+admins")
    admin.open(here.link("Mac Admins", to="directory_group="))
    admin.submit("Bind the directory group").says("I have read the warnings")
    admin.submit("Bind the directory group", {"confirmed": "on"}).says("1 person")


def privileges_come_with_membership(job: Job) -> None:
    """Milo is a member: he signs in with Entra and may see policies."""
    sign_in_as_milo(job)
    job.person.open(job.at("/computers/policies/")).says("VPN client")
    job.person.open(job.at("/account/privileges/")).says("Mac Admins")


def sign_in_as_milo(job: Job) -> None:
    person = job.person
    person.open(job.at("/login/"))
    page = person.follow("Sign in with Entra: Fernhill Studio")
    if "Use another account" in page.text:
        # Microsoft still knows him; it asks which account to take.
        page = person.submit("account", button=company.MILO.display_name)
    else:
        person.submit("username", {"username": company.MILO.upn})
        page = person.submit("password", {"password": company.MILO.password})
    if "Permissions requested" in page.text:
        page = person.submit("Accept", {"action": "accept"})
    if "?" in page.url:
        raise StepFailed(f"The address still holds an answer: {page.url}")


def privileges_go_with_membership(job: Job) -> None:
    """He leaves the group; the next read ends his session."""
    group = company.MAC_ADMINS.object_id
    job.control(
        "DELETE",
        f"tenants/{company.FERNHILL.tenant_id}/groups/{group}"
        f"/members/{company.MILO.object_id}",
    )
    sync_now(job)
    page = job.person.open(job.at("/computers/policies/"))
    if "VPN client" in page.text:
        raise StepFailed(f"He still sees policies: {page}")
    page.says("You hold no privileges any more")
    job.control(
        "PUT",
        f"tenants/{company.FERNHILL.tenant_id}/groups/{group}"
        f"/members/{company.MILO.object_id}",
    )
    sync_now(job)


def full_access_waits_for_approval(job: Job) -> None:
    """He is put back, and holds Full Access again when an administrator agrees."""
    admin = job.admin
    admin.open(job.at("/activity/held-changes/")).says("Gives Full Access")
    admin.open(admin.here.link("Mac Admins", to="/activity/held-changes/"))
    page = admin.here.says(company.MILO.display_name)
    typed = {"typed": "Fernhill Studio"} if "To approve, type" in page.text else {}
    admin.submit("reason", {"reason": "He is back in IT"} | typed, button="Approve")
    sync_now(job)
    sign_in_as_milo(job)
    job.person.open(job.at("/computers/policies/")).says("VPN client")


def nothing_was_written(job: Job) -> None:
    """The sandbox recorded what it was asked; no request of the console was a write."""
    journal = job.control("GET", "journal?plane=graph")
    entries = journal["entries"] if isinstance(journal, dict) else journal
    if not entries:
        raise StepFailed("The journal is empty.")
    refused = [entry for entry in entries if entry.get("refused")]
    writes = [entry for entry in entries if entry["method"] not in {"GET", "POST"}]
    if refused or writes:
        raise StepFailed(f"Requests that are no reads: {refused + writes}")


def nothing_was_kept(job: Job) -> None:
    """Codes, states, signed messages, tokens, session keys, secrets, passwords."""
    browsers = (job.admin, job.person)
    secrets = canaries.of_run(job.installation, browsers)
    names = {name for name, _ in secrets}
    if not names >= {"code", "state", "answer", "session key"}:
        raise StepFailed(f"Only these secrets were seen on the way: {names}")
    found = [
        *canaries.left_behind(job.installation, secrets),
        *canaries.shown(job.installation, browsers, secrets),
    ]
    if found:
        raise StepFailed(f"Secrets were kept: {', '.join(found)}")


STEPS: tuple[tuple[str, Callable[[Job], None]], ...] = (
    ("sign in as the local administrator", sign_in_locally),
    (
        "a Global Administrator consents, and the connector passes it on",
        consent_at_microsoft,
    ),
    ("the console verifies the answer and saves the connection", verify_and_save),
    ("the worker reads people, groups and memberships", read_everything),
    ("people and groups can be browsed, with paths", browse),
    ("a change in the directory arrives by a read of changes", a_change_arrives),
    ("a policy is limited to a group and excludes a person", scope_a_policy),
    ("who is in scope, and why", see_who_and_why),
    (
        "an account group is bound to a directory group",
        give_privileges_to_a_directory_group,
    ),
    (
        "signing in with Entra gives what the group gives",
        privileges_come_with_membership,
    ),
    (
        "leaving the group takes it away, without a new sign-in",
        privileges_go_with_membership,
    ),
    (
        "coming back to it waits for an administrator's approval",
        full_access_waits_for_approval,
    ),
    ("nothing was written to Entra", nothing_was_written),
    ("no secret stands in a log, a message, the database or a page", nothing_was_kept),
)


def run(installation: Installation, say: Say) -> tuple[int, int]:
    """Return how many steps passed and failed; nothing after a failure is tried."""
    began = time.monotonic()
    try:
        processes.start_everything(installation)
    except processes.DidNotStart as error:
        say(f"FAILED  start the console\n{error}")
        return 0, 1
    say(f"ok      start sandbox, worker and console ({time.monotonic() - began:.1f} s)")
    job = Job(installation)
    passed = 1
    for name, step in STEPS:
        began = time.monotonic()
        try:
            step(job)
        except (NotOnPage, StepFailed, requests.RequestException) as error:
            say(f"FAILED  {name}\n{error}")
            for line in _last_lines(installation):
                say(line)
            return passed, 1
        passed += 1
        say(f"ok      {name} ({time.monotonic() - began:.1f} s)")
    return passed, 0


def _last_lines(installation: Installation) -> Iterator[str]:
    """The end of each log, for whoever has to find out why."""
    for name in ("console", "worker", "sandbox"):
        with suppress(OSError):
            lines = installation.log(name).read_text(errors="replace").splitlines()
            yield from (f"        {name}: {line}" for line in lines[-12:])
