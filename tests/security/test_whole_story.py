"""A46, A47: a whole story with real processes, and a search through all it left.

Sandbox, worker, console and a mail server run as in production, with second factors.
What was typed, made, sent and received as a secret is then looked for in the logs, in
every file of the database, in the messages of the broker, in every page and mail.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyotp
import pytest
from aiosmtpd.controller import Controller

from jamfidp.demo import canaries, check, processes, story
from jamfidp.demo.browsing import Browser
from tests import cast

pytestmark = pytest.mark.processes

ADD = "/account/sign-in/add/"
TYPED = {
    "password set for another account": "correct-horse-for-lena",
    "password typed into the user name": "Tr0ub4dor-in-the-wrong-field",
    "wrong password": "not-the-password-of-anybody",
    "new password": "a-second-horse-for-the-admin",
}


@dataclass
class Inbox:
    mails: list[bytes] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        self.mails.append(envelope.content)
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    inbox = Inbox()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    yield inbox, port
    server.stop()


@pytest.fixture
def job(
    inbox: tuple[Inbox, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[check.Job]:
    prepared = processes.prepare(
        tmp_path_factory.mktemp("story"), processes.free_ports()
    )
    env = prepared.folder / "env"
    env.write_text(
        env.read_text().replace("FACTOR_REQUIRED=0", "FACTOR_REQUIRED=1")
        + f"EMAIL_URL=smtp://127.0.0.1:{inbox[1]}\nLOG_LEVEL=DEBUG\n"
    )
    with processes.stopped_at_the_end(prepared) as running:
        processes.start_everything(running)
        yield check.Job(running)


def enroll(job: check.Job) -> tuple[pyotp.TOTP, list[str]]:
    """Sign in for the first time; return the app and the recovery codes."""
    admin = job.admin
    admin.open(job.at("/login/"))
    admin.submit(
        "username",
        {
            "username": story.ADMINISTRATOR,
            "password": job.installation.administrator_password,
        },
    )
    page = admin.submit("add/app/begin/")
    secret = re.search(r"secret-text\">([A-Z2-7 ]+)<", page.source)
    assert secret
    totp = pyotp.TOTP(secret[1].replace(" ", ""))
    page = admin.submit("code", {"code": totp.now()})
    codes = re.findall(r"<code>([A-Z2-9-]{19})</code>", page.source)
    assert len(codes) == 10
    admin.submit("I have kept them: sign in").says("Device console")
    return totp, codes


def by_recovery_code(job: check.Job, code: str) -> Browser:
    """Fail in three ways, then come in by a recovery code."""
    browser = Browser()
    for username, password in (
        (TYPED["password typed into the user name"], "x"),
        (story.ADMINISTRATOR, TYPED["wrong password"]),
        (story.ADMINISTRATOR, job.installation.administrator_password),
    ):
        browser.open(job.at("/login/"))
        browser.submit("username", {"username": username, "password": password})
    browser.submit("code", {"code": "000000"})
    browser.follow("Use a recovery code")
    browser.submit("code", {"code": code}).says("Device console")
    return browser


def change_things(job: check.Job) -> None:
    """What an administrator types: a password, an address, a reason."""
    admin = job.admin
    admin.open(job.at("/settings/accounts/new/"))
    admin.submit(
        "username",
        {
            "username": "lena",
            "email": "lena@fernhill.example",
            "password": TYPED["password set for another account"],
            "access_level": "FULL",
            "privilege_set": "ADMINISTRATOR",
        },
    )
    admin.open(job.at("/account/sign-in/password/"))
    new = TYPED["new password"]
    admin.submit("password", {"password": new, "password_again": new})
    person = f"{cast.FERNHILL.tenant_id}/{cast.TOMAS.object_id}"
    admin.open(job.at(f"/settings/accounts/of-person/{person}/block/"))
    admin.submit("reason", {"reason": "Has left the company."})
    admin.open(job.at("/settings/notifications/"))
    admin.submit("address", {"address": "ops@fernhill.example"})


def test_a46_a47_a_whole_story_leaves_no_secret_anywhere(
    job: check.Job, inbox: tuple[Inbox, int]
) -> None:
    totp, codes = enroll(job)
    check.consent_at_microsoft(job)
    check.verify_and_save(job)
    check.read_everything(job)
    check.give_privileges_to_a_directory_group(job)
    check.privileges_come_with_membership(job)
    other = by_recovery_code(job, codes[0])
    change_things(job)
    check.sync_now(job)
    job.person.submit("logout/")
    # The worker does so by itself every quarter of a minute.
    processes.manage(
        job.installation,
        "shell",
        "-c",
        "from jamfidp.notices import tasks; tasks.tick()",
    )

    browsers = (job.admin, job.person, other)
    secrets = canaries.of_run(job.installation, browsers) | set(TYPED.items())
    secrets |= {("authenticator secret", totp.secret)}
    names = {name for name, _ in secrets}
    assert names >= {"code", "state", "answer", "session key", "application secret"}
    later = secrets | {("recovery code", code) for code in codes}
    later |= {("recovery code", code.replace("-", "")) for code in codes}

    assert list(canaries.left_behind(job.installation, later)) == []
    # A user name is given back as it was typed, to whoever typed it.
    on_pages = [one for one in secrets if "user name" not in one[0]]
    assert list(canaries.shown(job.installation, browsers, on_pages)) == []
    for mail in inbox[0].mails:
        text = mail.decode()
        assert [name for name, value in later if value in text] == []
        assert not canaries.TOKEN.search(mail)
    assert len(inbox[0].mails) >= 2, "No mail came: the search proves less."


def test_the_search_finds_what_is_there(job: check.Job) -> None:
    """Else the test above proves nothing."""
    check_log = job.installation.log("console")
    enroll(job)
    secrets = canaries.of_run(job.installation, (job.admin,))
    key = next(value for name, value in secrets if name == "session key")
    token = f"eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}"
    with check_log.open("a") as log:
        log.write(f"{key}\n{token}\n")

    found = set(canaries.left_behind(job.installation, secrets))

    assert found == {"session key in log/console.log", "token in log/console.log"}
