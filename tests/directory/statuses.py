"""Every status of a connection: what happens at Microsoft, and what makes good for it.

What Microsoft does is done at the sandbox, through its control plane. Tests of the page
and of the browser take the same cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from directory import checking, credentials, registrations
from directory.models import ApplicationCredential, CloudIdentityProvider
from tests.conftest import Sandbox
from tests.directory.syncing import Story, connected

Status = CloudIdentityProvider.Status
OTHER_APPLICATION = "7d3c9b52-1f6e-4a08-9c4d-5e2b8a17f063"


def working(sandbox: Sandbox) -> Story:
    """A tenant that is connected, was read, and works."""
    story = connected(sandbox)
    CloudIdentityProvider.objects.update(
        first_complete_read_at=timezone.now(), last_good_read_at=timezone.now()
    )
    story.cloud_idp.refresh_from_db()
    assert checking.check(story.cloud_idp, now=timezone.now())
    return story


def consent(story: Story, method: str, **values: Any) -> None:
    client_id = story.sandbox.application["client_id"]
    story.control(method, f"consents/{client_id}", values or None)


def tenant(story: Story, **values: Any) -> None:
    story.sandbox.control("PATCH", f"tenants/{story.tenant}", values)


def secret(story: Story, method: str, **values: Any) -> None:
    """Do something to every secret of the application at Microsoft."""
    application = f"applications/{story.sandbox.application['client_id']}"
    for known in story.sandbox.control("GET", application)["secrets"]:
        story.sandbox.control(
            method, f"{application}/secrets/{known['key_id']}", values or None
        )


def secret_again(story: Story) -> None:
    """A new secret at Microsoft takes the place of what is entered here."""
    client_id = story.sandbox.application["client_id"]
    made = story.sandbox.control("POST", f"applications/{client_id}/secrets", {})
    found = registrations.registration("SANDBOX")
    found.credentials.all().delete()
    credentials.add_secret(
        found,
        secret=made["value"],
        expires_at=None,
        actor=None,
        now=timezone.now(),
    )


def another_application(story: Story) -> None:
    """The deployment gets another registration, with a credential of its own."""
    story.sandbox.control(
        "POST",
        "applications",
        {"display_name": "Device console", "client_id": OTHER_APPLICATION},
    )
    made = story.sandbox.control(
        "POST", f"applications/{OTHER_APPLICATION}/secrets", {}
    )
    found = registrations.save_client_id(
        cloud_key="SANDBOX",
        client_id=OTHER_APPLICATION,
        connections_confirmed=True,
        actor=None,
        now=timezone.now(),
    )
    credentials.add_secret(
        found, secret=made["value"], expires_at=None, actor=None, now=timezone.now()
    )


def throttle(story: Story) -> None:
    story.fault(
        "/v1.0/organization", times=0, status=429, headers={"Retry-After": "900"}
    )


def web_page(story: Story) -> None:
    """A page in the place of Microsoft's answer, as a captive network sends it."""
    story.fault(
        "/v1.0/organization",
        times=0,
        status=200,
        headers={"content-type": "text/html"},
        body="<h1>Sign in to the guest network</h1>",
    )


def waited(story: Story) -> None:
    story.sandbox.control("DELETE", "faults")
    CloudIdentityProvider.objects.update(asked_to_wait_until=timezone.now())


def no_credential(story: Story) -> None:
    ApplicationCredential.objects.all().delete()


@dataclass(frozen=True)
class Case:
    """What happens, what then stands there, the buttons, and what makes good for it."""

    happens: Callable[[Story], None]
    evidence: str
    code: str
    buttons: tuple[str, ...]
    heals: Callable[[Story], None]


GRANT = ("Grant consent again", "Send a request")
CASES: Mapping[str, Case] = {
    Status.PERMISSIONS_MISSING: Case(
        lambda story: consent(story, "PATCH", roles=["GroupMember.Read.All"]),
        "GroupMember.Read.All is missing",
        "Authorization_RequestDenied",
        GRANT,
        lambda story: consent(story, "PUT"),
    ),
    Status.CONSENT_WITHDRAWN: Case(
        lambda story: consent(
            story, "PATCH", roles=["User.Read.All", "GroupMember.Read.All"]
        ),
        "grants none of the permissions",
        "Authorization_RequestDenied",
        GRANT,
        lambda story: consent(story, "PUT"),
    ),
    Status.APPLICATION_REMOVED: Case(
        lambda story: consent(story, "DELETE"),
        "The enterprise application is missing in the tenant",
        "AADSTS7000229",
        (*GRANT, "Go to the credentials"),
        lambda story: consent(story, "PUT"),
    ),
    Status.APPLICATION_DISABLED: Case(
        lambda story: consent(story, "PATCH", enabled=False),
        "The application is disabled",
        "AADSTS7000112",
        ("Check now",),
        lambda story: consent(story, "PATCH", enabled=True),
    ),
    Status.CREDENTIALS: Case(
        lambda story: secret(story, "DELETE"),
        "The client secret of the application is wrong",
        "AADSTS7000215",
        ("Go to the credentials", "Check now"),
        secret_again,
    ),
    Status.CREDENTIALS_EXPIRED: Case(
        lambda story: secret(story, "PATCH", expires_in=-1),
        "The client secret of the application has expired",
        "AADSTS7000222",
        ("Go to the credentials", "Check now"),
        secret_again,
    ),
    Status.CREDENTIALS_MISSING: Case(
        no_credential,
        "has no secret, certificate or assertion",
        "",
        ("Go to the credentials", "Check now"),
        secret_again,
    ),
    Status.BLOCKED: Case(
        lambda story: story.control(
            "POST", "conditional-access", {"for": "applications"}
        ),
        "A Conditional Access policy of the tenant blocks the sign-in",
        "AADSTS53003",
        ("Check now",),
        lambda story: story.control("DELETE", "conditional-access"),
    ),
    Status.WRONG_CLOUD: Case(
        lambda story: tenant(story, cloud="GCC_HIGH"),
        "US Government L4 (GCC High)",
        "",
        ("Check now", "Delete the connection"),
        lambda story: tenant(story, cloud=""),
    ),
    Status.TENANT_GONE: Case(
        lambda story: tenant(story, gone=True),
        "No tenant with this ID or domain exists in this cloud",
        "AADSTS90002",
        ("Check now", "Delete the connection"),
        lambda story: tenant(story, gone=False),
    ),
    Status.REFUSED: Case(
        lambda story: story.fault(
            f"/{story.tenant}/oauth2/v2.0/token", times=0, aadsts=70003
        ),
        "for a reason the console does not know",
        "AADSTS70003",
        ("Check now",),
        lambda story: story.sandbox.control("DELETE", "faults"),
    ),
    Status.THROTTLED: Case(
        throttle,
        "Microsoft Graph is limiting the requests of the console",
        "HTTP 429",
        (),
        waited,
    ),
    Status.UNREACHABLE: Case(
        web_page,
        "Something else answered in place of Microsoft Graph",
        "",
        ("Check now",),
        waited,
    ),
    # The last: from then on the application is another one.
    Status.PENDING_CONSENT: Case(
        another_application,
        "The enterprise application is missing in the tenant",
        "AADSTS7000229",
        ("Grant consent", "Send a request"),
        lambda story: story.control("PUT", f"consents/{OTHER_APPLICATION}"),
    ),
}
