"""Policies and configuration profiles as forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from jamfidp.access import SiteAccess
from scoping.models import Site
from scoping.objects import ObjectKind
from scoping.recompute import ScopedObject

if TYPE_CHECKING:
    SiteChoiceField = forms.ModelChoiceField[Site]
else:
    SiteChoiceField = forms.ModelChoiceField


class SiteField(SiteChoiceField):
    """The site of an object; required for who may not leave it out."""

    def __init__(self, *, access: SiteAccess) -> None:
        sites = Site.objects.all()
        if not access.everywhere:
            sites = sites.filter(pk__in=access.site_ids)
        super().__init__(
            sites,
            required=not access.everywhere,
            empty_label="No site" if access.everywhere else "Choose a site",
            help_text="An object with a site reaches devices of that site alone.",
        )


class ObjectForm(forms.Form):
    """Name, category and description; the scope has an editor of its own."""

    name = forms.CharField(max_length=255)
    category = forms.CharField(
        max_length=255,
        required=False,
        help_text="Objects of one category can be listed together.",
    )
    enabled = forms.BooleanField(
        required=False,
        initial=True,
        help_text="Devices in scope get it only while it is enabled.",
    )
    payload = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 4}), strip=True
    )

    def __init__(
        self,
        data: Any = None,
        *,
        kind: ObjectKind,
        access: SiteAccess,
        obj: ScopedObject | None = None,
    ) -> None:
        self.kind, self.obj = kind, obj
        initial = (
            {
                "name": obj.name,
                "category": obj.category,
                "enabled": obj.enabled,
                "payload": obj.payload,
                "site": obj.site_id,
            }
            if obj is not None
            else {}
        )
        super().__init__(data, initial=initial)
        self.fields["site"] = SiteField(access=access)
        self.fields["payload"].label = kind.payload_label
        self.order_fields(["name", "category", "site", "enabled", "payload"])

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        others = self.kind.rows().filter(name__iexact=name)
        if self.obj is not None:
            others = others.exclude(pk=self.obj.pk)
        if others.exists():
            raise ValidationError(f"Another {self.kind.noun} is named {name}.")
        return name
