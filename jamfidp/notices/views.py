"""Notices, one's own choice of mail, and Settings > Notifications."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from jamfidp.access import privilege, signed_in
from jamfidp.htmx import ConsoleRequest, page_or_fragment
from jamfidp.notices import mail, mail_choices, reading
from jamfidp.notices.announce import announce
from jamfidp.notices.forms import NotificationsForm, TestMailForm
from jamfidp.notices.kinds import TEST_MAIL
from jamfidp.notices.models import NoticeMail, Severity

PAGE_SIZE = 50
MAILS_SHOWN = 15
VIEW, CHANGE = "notices.view_kindsetting", "notices.change_kindsetting"
SHOW = {"open": "Open", "unread": "Unread", "all": "All, also those that ended"}


@signed_in("each person sees the notices of their privileges")
def notice_list(request: ConsoleRequest) -> HttpResponse:
    """Newest first; pages begin after the id in `before`."""
    show = request.GET.get("show", "open")
    show = show if show in SHOW else "open"
    notices = reading.visible_to(request.user)
    if show != "all":
        notices = notices.filter(resolved_at=None)
    if show == "unread":
        notices = notices.filter(~reading.read_by(request.user))
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        notices = notices.filter(pk__lt=int(before))
    notices = notices.annotate(is_read=reading.read_by(request.user))
    rows = list(notices.order_by("-pk")[: PAGE_SIZE + 1])
    more = len(rows) > PAGE_SIZE
    rows = rows[:PAGE_SIZE]
    return page_or_fragment(
        request,
        page="notices/list.html",
        fragments={"notice-list": "notices/_list.html"},
        context={
            "rows": rows,
            "show": show,
            "choices": SHOW,
            "unread": reading.unread(request.user).count(),
            "older_url": f"?show={show}&before={rows[-1].pk}" if more else "",
            "newer_url": f"?show={show}" if before else "",
        },
    )


@signed_in("each person reads their own notices")
@require_POST
def notice_read(request: ConsoleRequest, pk: int) -> HttpResponse:
    notice = get_object_or_404(reading.visible_to(request.user), pk=pk)
    reading.mark_read([notice], request.user, now=timezone.now())
    return redirect(_back(request))


@signed_in("each person reads their own notices")
@require_POST
def notices_read(request: ConsoleRequest) -> HttpResponse:
    """Mark everything as read that was there when the page was opened."""
    newest = request.POST.get("newest", "")
    if newest.isdecimal() and len(newest) < 19:
        reading.mark_read(
            reading.unread(request.user).filter(pk__lte=int(newest)),
            request.user,
            now=timezone.now(),
        )
    return redirect(_back(request))


@signed_in("everybody chooses what comes to their own address")
def preferences(request: ConsoleRequest) -> HttpResponse:
    """Which kinds come to me by mail."""
    decided = mail_choices.choices()
    kinds = [kind for kind in reading.kinds_of(request.user) if not kind.always_by_mail]
    if request.method == "POST":
        wanted = set(request.POST.getlist("kind"))
        declined = frozenset(kind.name for kind in kinds if kind.name not in wanted)
        # What the person cannot see now stays as it was chosen.
        unseen = mail_choices.declined_by(request.user.pk) - {
            kind.name for kind in kinds
        }
        mail_choices.decline(request.user, declined | unseen, now=timezone.now())
        messages.success(request, "Saved what comes to you by mail.")
        return redirect("notices:preferences")
    declined = mail_choices.declined_by(request.user.pk)
    return render(
        request,
        "notices/preferences.html",
        {
            "rows": [
                (kind, decided[kind.name].by_mail, kind.name not in declined)
                for kind in kinds
            ],
            "address": getattr(request.user, "email", ""),
        },
    )


@privilege(VIEW)
@require_safe
def settings(request: ConsoleRequest) -> HttpResponse:
    """Which kinds go by mail to whom, and how the last mails fared."""
    return _settings_page(
        request,
        NotificationsForm(choices=mail_choices.choices()),
        TestMailForm(initial={"address": getattr(request.user, "email", "")}),
    )


@privilege(VIEW, CHANGE)
@require_POST
def settings_save(request: ConsoleRequest) -> HttpResponse:
    form = NotificationsForm(request.POST, choices=mail_choices.choices())
    if not form.is_valid():
        return _settings_page(request, form, TestMailForm())
    changed = mail_choices.save(form.chosen(), actor=request.user, now=timezone.now())
    if changed:
        messages.success(request, f"Saved: {', '.join(changed)}.")
    else:
        messages.info(request, "Nothing was different: nothing was saved.")
    return redirect("notices:settings")


@privilege(VIEW, CHANGE)
@require_POST
def test_mail(request: ConsoleRequest) -> HttpResponse:
    """Queue a mail to one address, on the way that every notice takes."""
    form = TestMailForm(request.POST)
    if not form.is_valid():
        return _settings_page(
            request, NotificationsForm(choices=mail_choices.choices()), form
        )
    now = timezone.now()
    with transaction.atomic():
        notice = announce(
            kind=TEST_MAIL,
            title="Test mail",
            body=f"{request.user} asked for this mail, to see whether mail arrives.",
            severity=Severity.INFO,
            link=reverse("notices:settings"),
            now=now,
        )
        notice.mail_planned_at = now
        notice.save(update_fields=["mail_planned_at"])
        NoticeMail.objects.create(
            notice=notice, address=form.cleaned_data["address"], due_at=now
        )
    messages.info(
        request,
        f"A test mail to {form.cleaned_data['address']} waits for the worker. Look "
        "below how it fared.",
    )
    return redirect(f"{reverse('notices:settings')}#panel-last-mails")


def _settings_page(
    request: ConsoleRequest, form: NotificationsForm, test: TestMailForm
) -> HttpResponse:
    name = getattr(request.user, "privilege_name", str)
    context: dict[str, Any] = {
        "form": form,
        "rows": [(*row, name(row[0].privilege)) for row in form.rows()],
        "test": test,
        "may_change": request.user.has_perm(CHANGE),
        "check": mail.check(),
        "sender": django_settings.DEFAULT_FROM_EMAIL,
        "mails": NoticeMail.objects.select_related("notice")[:MAILS_SHOWN],
    }
    return render(
        request,
        "notices/settings.html",
        context,
        status=422 if form.errors or test.errors else 200,
    )


def _back(request: ConsoleRequest) -> str:
    show = request.POST.get("show", "")
    page = reverse("notices:list")
    return f"{page}?show={show}" if show in SHOW else page
