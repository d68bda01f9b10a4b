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
from jamfidp.demo import processes, story
from jamfidp.demo.browsing import Browser, NotOnPage, Page
from jamfidp.demo.processes import Installation

Say = Callable[[str], Any]
SYNC_SECONDS = 90


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
