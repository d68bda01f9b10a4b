"""Every component on one page, in every state: for building and checking the look."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from jamfidp.access import public
from jamfidp.components import (
    Amount,
    Branch,
    Check,
    Chip,
    Crumb,
    Entry,
    Node,
    Step,
    Tab,
)


class GalleryForm(forms.Form):
    """One field of each kind."""

    display_name = forms.CharField(
        help_text="Shown wherever this connection is named.", max_length=40
    )
    email = forms.EmailField(label="E-mail", required=False)
    cloud = forms.ChoiceField(
        choices=[("global", "Microsoft Entra ID"), ("usgov", "US Government")]
    )
    transitive = forms.BooleanField(
        label="Follow nested groups",
        required=False,
        help_text="Members of a group inside a group count as members.",
    )
    role = forms.ChoiceField(
        label="Who gives consent",
        choices=[
            ("self", "I am the Global Administrator"),
            ("other", "Send a request to the Global Administrator"),
        ],
        widget=forms.RadioSelect,
        help_text="Only a Global Administrator can give consent.",
    )
    note = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)


@public("shows made-up values only; routed when settings.COMPONENT_GALLERY is on")
def components(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    read = now - timedelta(minutes=4)
    engineering = Node(
        claim="Ana Ruiz is in Engineering through Frontend",
        verdict="in",
        fact="Membership read from Entra",
        url="#derivation",
        as_of=read,
        deciding=True,
        children=[
            Node("Frontend is a member of Engineering", "in", as_of=read),
            Node("Ana Ruiz is a member of Frontend", "in", as_of=read),
        ],
    )
    node = Node(
        claim="MBP-0412 is in the scope of FileVault",
        verdict="in",
        deciding=True,
        children=[
            Node(
                "It is in the target Design Macs", "in", fact="Smart group", as_of=read
            ),
            engineering,
            Node("Its user is in the exclusion Interns", "out", as_of=read),
            Node(
                "Its last address is in the network segment Studio",
                "unknown",
                fact="The computer has reported no address. It reports one at its next "
                "check-in.",
            ),
        ],
    )
    return render(
        request,
        "components/gallery.html",
        {
            "now": now,
            "read": read,
            "node": node,
            "empty_form": GalleryForm(initial={"display_name": "Fernhill Studio"}),
            "refused_form": GalleryForm(
                {"display_name": "", "email": "ana", "cloud": "mars", "note": "kept"},
                auto_id="refused_%s",
            ),
            "tabs": [
                Tab("Overview", "#overview", current=True),
                Tab("Mappings", "#mappings", count=11),
                Tab("Sync", "#sync", count=1284),
                Tab("History", "#history", count=0),
            ],
            "crumbs": [Crumb("Cloud identity providers", "#list")],
            "path": [
                Crumb("Ana Ruiz", "#ana"),
                Crumb("Frontend", "#frontend"),
                Crumb("Engineering", "#engineering"),
            ],
            "chips": [
                Chip("Status", "disabled", "?"),
                Chip("Connection", "Fernhill Studio", "?"),
            ],
            "steps": [
                Step("Who gives consent", "done", url="#step-1"),
                Step("Consent at Microsoft", "failed", note="Refused by Microsoft"),
                Step("Check the tenant", "current", note="Nothing is saved yet"),
                Step("Mappings", "todo"),
            ],
            "checks": [
                Check("Consent", "good", "3 of 3 permissions", as_of=read),
                Check("Secret", "attention", "Expires in 9 days", url="#secret"),
                Check("Last read", "bad", "Entra refused the secret (AADSTS7000222)"),
                Check("Hidden groups", "unknown", "Membership of 2 groups is hidden"),
            ],
            "branches": [
                Branch(
                    "Engineering",
                    "#engineering",
                    412,
                    children=[
                        Branch("Frontend", "#frontend", 38),
                        Branch(
                            "Platform",
                            "#platform",
                            91,
                            children=[
                                Branch("Engineering", cut="Already above: a cycle")
                            ],
                        ),
                    ],
                )
            ],
            "amounts": [
                Amount("gained", 37, "#gained"),
                Amount("lost", 4, "#lost"),
                Amount("unchanged", 1208, "#unchanged"),
                Amount("unknown", 2, "#unknown"),
            ],
            "entries": [
                Entry(
                    now - timedelta(hours=3),
                    "Ana Ruiz",
                    "Changed the mapping of Department",
                    url="#entry",
                    changes=[("Department", "department", "extensionAttribute3")],
                ),
                Entry(now - timedelta(days=41), "The console", "Finished a full sync"),
            ],
            "counts": [("Users", 18204), ("Groups", 611), ("Memberships", 94117)],
            "rows": [
                ("MBP-0412", "Ana Ruiz", "macOS 15.5", "in", read),
                (
                    "MBP-0077",
                    "Tom Ellery",
                    "macOS 14.7",
                    "out",
                    now - timedelta(days=2),
                ),
                ("IMAC-STUDIO-3", "", "macOS 15.5", "unknown", None),
            ],
        },
    )
