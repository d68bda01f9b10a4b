"""What a person types about devices, and the files they bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import QuerySet
from django.forms.widgets import DateTimeInput
from django.utils import timezone

from jamfidp.access import SiteAccess
from scoping import importing, inventory
from scoping.models import Building, Department, Device, DeviceKind, LastLogin, Site

if TYPE_CHECKING:
    DeviceModelForm = forms.ModelForm[Device]
else:  # Django's own class is not generic when it runs
    DeviceModelForm = forms.ModelForm

WHOLE_FLEET = "No site"


def sites_of(access: SiteAccess) -> QuerySet[Site]:
    """The sites a person may put devices into."""
    sites = Site.objects.all()
    return sites if access.everywhere else sites.filter(pk__in=access.site_ids)


class DateTimeLocal(DateTimeInput):
    """The browser's own control for a date and a time."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M:%S", attrs={"step": "1"})


class DeviceForm(DeviceModelForm):
    """The facts of a device itself."""

    class Meta:
        model = Device
        fields = tuple(inventory.FACTS)
        widgets = {"last_inventory_at": DateTimeLocal()}

    def __init__(self, *args: Any, kind: DeviceKind, access: SiteAccess, **kwargs: Any):
        super().__init__(*args, **kwargs)
        section = inventory.SECTIONS[kind]
        self.fields["name"].label = section.name_label
        self.fields["os_version"].label = section.os_label
        self.fields["last_reported_ip"].label = section.ip_label
        self.fields["last_inventory_at"].label = inventory.FACTS["last_inventory_at"]
        self.fields[
            "managed"
        ].help_text = f"Only managed {section.plural} receive what a scope gives them."
        self.fields[
            "last_reported_ip"
        ].help_text = (
            "Network segments are compared with it. Without one, they are unknown."
        )
        self.fields[
            "last_inventory_at"
        ].help_text = f"In the time zone {timezone.get_current_timezone_name()}."
        site: Any = self.fields["site"]
        site.queryset = sites_of(access)
        site.required = not access.everywhere
        site.empty_label = WHOLE_FLEET if access.everywhere else None
        serial = self.fields["serial_number"]
        serial.error_messages["unique"] = (
            "A device with this serial number is in the inventory already."
        )

    def clean_serial_number(self) -> str:
        return str(self.cleaned_data["serial_number"]).strip().upper()


class UserAndLocationForm(forms.Form):
    """Who uses a device, and where."""

    username = forms.CharField(
        required=False,
        max_length=255,
        help_text="The assigned user, as in the directory. Empty means nobody.",
    )
    real_name = forms.CharField(label="Full name", required=False, max_length=1024)
    email = forms.CharField(label="Email address", required=False, max_length=1024)
    phone = forms.CharField(label="Phone number", required=False, max_length=1024)
    position = forms.CharField(required=False, max_length=1024)
    department = forms.ModelChoiceField(
        Department.objects.all(), required=False, empty_label="None"
    )
    building = forms.ModelChoiceField(
        Building.objects.all(), required=False, empty_label="None"
    )
    room = forms.CharField(required=False, max_length=1024)


class LoginReportForm(forms.Form):
    """Who a channel reports as logged in."""

    channel = forms.ChoiceField(choices=LastLogin.Channel.choices)
    user_name = forms.CharField(
        label="Username",
        required=False,
        max_length=255,
        help_text="Empty means that nobody is logged in, which is known too.",
    )
    reported_at = forms.DateTimeField(
        label="When",
        widget=DateTimeLocal(),
        help_text="An older report than the one kept changes nothing.",
    )

    def clean_reported_at(self) -> Any:
        moment = self.cleaned_data["reported_at"]
        if moment > timezone.now():
            raise forms.ValidationError("This time has not come yet.")
        return moment


class ImportForm(forms.Form):
    """A CSV file of devices."""

    file = forms.FileField(
        label="CSV file",
        help_text=(
            f"Up to {importing.MAX_BYTES // 1024 // 1024} MB and"
            f" {importing.MAX_ROWS:,} rows; commas, semicolons or tabs; UTF-8, UTF-16"
            " or Latin-1."
        ),
        error_messages={
            "required": "Choose a file.",
            "empty": "The file is empty.",
        },
    )
    site = forms.ModelChoiceField(
        Site.objects.none(),
        required=False,
        label="Site of new devices",
        help_text="For rows that name none. Devices of the inventory keep theirs.",
    )
    look_up = forms.BooleanField(
        required=False,
        label="Look up User and Location in the directory",
        help_text=(
            "Fills what the file leaves empty for assigned users that match, and"
            " follows the directory from then on."
        ),
    )

    def __init__(self, *args: Any, access: SiteAccess, **kwargs: Any):
        super().__init__(*args, **kwargs)
        site: Any = self.fields["site"]
        site.queryset = sites_of(access)
        site.required = not access.everywhere
        site.empty_label = WHOLE_FLEET if access.everywhere else None
