"""When a connection is read, and how much changed lately: parts of its Sync tab."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from directory import connections, schedules
from directory.forms import ScheduleForm
from directory.models import CloudIdentityProvider
from directory.views.connections import CHANGE
from directory.views.connections import _connection as connection_of
from directory.views.run_statistics import SERIES, changes_by_day, chart
from directory.views.saving import see_other
from jamfidp.access import privilege
from jamfidp.htmx import ConsoleRequest


def beside_runs(
    request: ConsoleRequest, cloud_idp: CloudIdentityProvider
) -> dict[str, Any]:
    """Return what the Sync tab shows besides its runs."""
    now = timezone.now()
    days = changes_by_day(cloud_idp, now=now)
    may_change = request.user.has_perm(CHANGE)
    return {
        "schedule_form": ScheduleForm(instance=cloud_idp) if may_change else None,
        "delta_minutes": schedules.delta_minutes(cloud_idp),
        "full_read_hour": schedules.full_read_hour(cloud_idp),
        "next_full_read": schedules.next_full_read_due(cloud_idp, now=now),
        "zone": timezone.get_default_timezone_name(),
        "chart": chart(days),
        "chart_labels": [label for label, _names in SERIES],
        "chart_days": [each for each in reversed(days) if any(each[1])],
        "chart_count": len(days),
    }


@privilege("directory.view_cloudidentityprovider", CHANGE)
@require_POST
def cloud_idp_schedule(request: ConsoleRequest, pk: int) -> HttpResponse:
    """Save the schedule; a value that is not offered is refused with what is."""
    cloud_idp = connection_of(pk)
    form = ScheduleForm(request.POST, instance=cloud_idp)
    if not form.is_valid():
        messages.error(
            request, "The schedule was not saved: choose one of the values offered."
        )
    elif connections.save_schedule(
        form.save(commit=False), actor=request.user, now=timezone.now()
    ):
        messages.success(request, "The schedule was saved.")
    return see_other(reverse("directory:cloud-idp-sync", args=[pk]))
