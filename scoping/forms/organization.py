"""Names of sites, buildings and departments; ranges of network segments."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from scoping.models import Building, Department, NetworkSegment, Site

if TYPE_CHECKING:
    PartModelForm = forms.ModelForm[Any]
else:  # Django's own class is not generic when it runs
    PartModelForm = forms.ModelForm


class NamedForm(PartModelForm):
    """A part with a name of its own; the refusal stands next to the name."""

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        model: Any = self._meta.model
        others = model.objects.exclude(pk=self.instance.pk)
        taken = others.filter(name__iexact=name).first()
        if taken is not None:
            raise ValidationError(
                f"Another {model._meta.verbose_name} is named {taken.name}.",
                code="unique",
            )
        return name


class SiteForm(NamedForm):
    class Meta:
        model = Site
        fields = ("name",)


class BuildingForm(NamedForm):
    class Meta:
        model = Building
        fields = ("name",)


class DepartmentForm(NamedForm):
    class Meta:
        model = Department
        fields = ("name",)


class NetworkSegmentForm(NamedForm):
    class Meta:
        model = NetworkSegment
        fields = ("name", "starting_address", "ending_address")
        help_texts = {
            "starting_address": "The first address, for example 10.20.0.0.",
            "ending_address": "The last address; it belongs to the segment too.",
        }

    def clean_ending_address(self) -> str:
        last = ipaddress.ip_address(self.cleaned_data["ending_address"])
        start = self.cleaned_data.get("starting_address")
        if start is None:
            return str(last)
        first = ipaddress.ip_address(start)
        if first.version != last.version:
            raise ValidationError(
                f"The starting address is IPv{first.version} and this is"
                f" IPv{last.version}. Both ends have to be of one version."
            )
        if int(last) < int(first):
            raise ValidationError(f"{last} comes before the starting address {first}.")
        return str(last)
