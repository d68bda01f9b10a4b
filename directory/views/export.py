"""CSV files of the lists of people and groups, as the address filters them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import transaction
from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from directory import lists
from directory.models import DirectoryGroup, DirectoryUser
from jamfidp.access import privilege
from jamfidp.history.record import record
from jamfidp.htmx import ConsoleRequest
from jamfidp.spreadsheet import lines

USER_HEADINGS = (
    "Name",
    "Username",
    "Email address",
    "Department",
    "Building",
    "Room",
    "Phone",
    "Position",
    "State",
    "Enabled",
    "Type",
    "Connection",
    "Tenant ID",
    "Object ID",
)
GROUP_HEADINGS = (
    "Name",
    "Kind",
    "Membership",
    "Mail",
    "Description",
    "State",
    "Direct members",
    "Members",
    "Connection",
    "Tenant ID",
    "Object ID",
)


@privilege("directory.view_directoryuser", "directory.export_directory")
@require_POST
def export_users(request: ConsoleRequest) -> HttpResponseBase:
    """Every person that the list shows. A POST, since it leaves a history entry."""
    listing = lists.users(request.GET)
    rows = listing.ordered(
        listing.rows(DirectoryUser.objects.connected().select_related("cloud_idp"))
    )
    remember(request, "directory users", rows.count(), listing.described())
    return file_of("directory-users", USER_HEADINGS, map(_user, rows.iterator(2000)))


@privilege("directory.view_directorygroup", "directory.export_directory")
@require_POST
def export_groups(request: ConsoleRequest) -> HttpResponseBase:
    """Every group that the list shows. A POST, since it leaves a history entry."""
    listing = lists.groups(request.GET)
    rows = listing.ordered(
        listing.rows(DirectoryGroup.objects.connected().select_related("cloud_idp"))
    )
    remember(request, "directory groups", rows.count(), listing.described())
    return file_of("directory-groups", GROUP_HEADINGS, map(_group, rows.iterator(2000)))


def remember(
    request: ConsoleRequest, what: str, count: int, filters: dict[str, str]
) -> None:
    """Write that somebody took a copy away."""
    with transaction.atomic():
        record(
            obj=request.user,
            actor=request.user,
            action="exported",
            note=f"Exported {count:,} {what} as CSV",
            details=filters,
        )


def file_of(
    name: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]
) -> StreamingHttpResponse:
    """Return a CSV file that no spreadsheet executes, line by line."""
    stream: Iterator[str] = lines(headings, rows)
    response = StreamingHttpResponse(stream, content_type="text/csv; charset=utf-8")
    day = timezone.localtime().date().isoformat()
    response["Content-Disposition"] = f'attachment; filename="{name}-{day}.csv"'
    return response


def _user(user: DirectoryUser) -> Sequence[Any]:
    return (
        user.display_name,
        user.user_name,
        user.email,
        user.department,
        user.building,
        user.room,
        user.phone,
        user.position,
        user.get_state_display(),
        _yes_no(user.account_enabled),
        user.user_type,
        user.cloud_idp.display_name,
        user.cloud_idp.tenant_id,
        user.object_id,
    )


def _group(group: DirectoryGroup) -> Sequence[Any]:
    hidden = group.hidden_membership
    return (
        group.display_name,
        group.get_kind_display(),
        "Dynamic" if group.is_dynamic else "Assigned",
        group.mail,
        group.description,
        group.get_state_display(),
        "hidden" if hidden else group.direct_users,
        "hidden" if hidden else group.transitive_users,
        group.cloud_idp.display_name,
        group.cloud_idp.tenant_id,
        group.object_id,
    )


def _yes_no(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"
