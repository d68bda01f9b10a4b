"""Forms of the connection, its mappings and the look-ups."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from directory import attributes
from directory.models import AttributeMappings, CloudIdentityProvider

if TYPE_CHECKING:
    ConnectionModelForm = forms.ModelForm[CloudIdentityProvider]
    MappingsModelForm = forms.ModelForm[AttributeMappings]
else:
    ConnectionModelForm = MappingsModelForm = forms.ModelForm

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}"
)


class DomainsField(forms.CharField):
    """Domains, one a line or separated by commas; stored in lower case."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        names = [
            name.strip().lower().lstrip("@")
            for name in re.split(r"[\s,;]+", super().to_python(value) or "")
        ]
        return list(dict.fromkeys(name for name in names if name))

    def validate(self, value: Any) -> None:
        super().validate(value)
        wrong = [name for name in value if not _DOMAIN.fullmatch(name)]
        if wrong:
            raise ValidationError(f"Not a domain name: {', '.join(wrong)}.")

    def run_validators(self, value: Any) -> None:
        """The rules of a single text do not apply to a list."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class ConnectionForm(ConnectionModelForm):
    """What a person chooses when a verified tenant is saved."""

    class Meta:
        model = CloudIdentityProvider
        fields: tuple[str, ...] = (
            "display_name",
            "search_timeout",
            "transitive_membership_enabled",
            "transitive_directory_membership_enabled",
        )
        help_texts = {
            "display_name": "Unique in this console. People see it beside users and "
            "groups.",
            "transitive_membership_enabled": "People who sign in hold what the groups "
            "above their own groups give.",
            "transitive_directory_membership_enabled": "Scopes and look-ups count "
            "members of groups inside a group.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        timeout = self.fields["search_timeout"]
        timeout.label = "Search timeout"
        timeout.widget.attrs |= {"min": 5, "max": 600, "inputmode": "numeric"}

    def clean_display_name(self) -> str:
        name = " ".join(self.cleaned_data["display_name"].split())
        others = CloudIdentityProvider.objects.exclude(pk=self.instance.pk)
        if others.filter(display_name__iexact=name).exists():
            raise ValidationError(
                "Another cloud identity provider has this display name. Choose "
                "another one."
            )
        return name


class OptionsForm(ConnectionForm):
    """What a person changes later: the same, and which user names it may match."""

    match_domains = DomainsField(
        label="Domains to match",
        required=False,
        help_text="One a line. A device's user name with another domain is never "
        "matched to this connection. Empty: every domain.",
    )

    class Meta(ConnectionForm.Meta):
        fields = (
            *ConnectionForm.Meta.fields,
            "match_domains",
            "match_names_without_domain",
        )
        labels = {
            "match_names_without_domain": "Match user names without a domain",
        }
        help_texts = {
            **ConnectionForm.Meta.help_texts,
            "match_names_without_domain": "Such names match in the connections chosen "
            "for them alone.",
        }


class MappingsForm(MappingsModelForm):
    """Which Graph property fills which attribute. Ids are fixed and not offered."""

    class Meta:
        model = AttributeMappings
        fields = (
            *(name for name in attributes.USER_FIELDS if name != "user_id"),
            *(name for name in attributes.GROUP_FIELDS if name != "group_id"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in list(self.fields):
            offered = list(attributes.properties_for(name))
            present = getattr(self.instance, name)
            if present and present not in offered:
                offered.append(present)
            required = name in ("user_name", "group_name")
            self.fields[name] = forms.ChoiceField(
                label=attributes.LABELS[name],
                required=required,
                choices=[
                    *([] if required else [("", "(not mapped)")]),
                    *_choices(offered),
                ],
                widget=forms.Select(attrs={"class": "form-select"}),
            )

    def rows(self) -> list[dict[str, Any]]:
        """All eleven attributes in Jamf Pro's order; the ids have no field."""
        standard = attributes.defaults()
        return [
            {
                "label": attributes.LABELS[name],
                "bound": self[name] if name in self.fields else None,
                "standard": standard[name],
            }
            for name in (*attributes.USER_FIELDS, *attributes.GROUP_FIELDS)
        ]


def _choices(offered: Sequence[str]) -> list[Any]:
    """Properties under their headings, in the catalogue's order; others at the end."""
    found: list[Any] = [
        (
            heading.value,
            [(each.name, attributes.short(each.name)) for each in known],
        )
        for heading, properties in attributes.by_heading()
        if (known := [each for each in properties if each.name in offered])
    ]
    others = [name for name in offered if attributes.property_named(name) is None]
    return [*found, *((name, name) for name in others)]


class RequestForm(forms.Form):
    """Whom a request for consent goes to; the link can always be copied."""

    recipient = forms.EmailField(
        label="Mail address of the Global Administrator",
        required=False,
        max_length=320,
        help_text="Leave it empty to pass the link on yourself.",
    )


class UserLookupForm(forms.Form):
    user = forms.CharField(
        label="Username",
        max_length=256,
        help_text="A complete user name, user principal name or object ID.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class GroupLookupForm(forms.Form):
    group = forms.CharField(
        label="Group name",
        max_length=256,
        help_text="A complete group name or object ID.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class MembershipLookupForm(UserLookupForm, GroupLookupForm):
    field_order = ("user", "group")
