"""Forms of the connection, its mappings and the look-ups."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

from directory import attributes
from directory.entra import is_guid
from directory.models import AttributeMappings, CloudIdentityProvider, GuardLimits
from directory.schedules import (
    DELTA_MINUTES,
    SLOWEST_REVOCATION,
    delta_minutes,
    full_read_hour,
)
from directory.sync.filters import GroupType, ReadFilter

if TYPE_CHECKING:
    ConnectionModelForm = forms.ModelForm[CloudIdentityProvider]
    MappingsModelForm = forms.ModelForm[AttributeMappings]
    LimitsModelForm = forms.ModelForm[GuardLimits]
else:
    ConnectionModelForm = MappingsModelForm = LimitsModelForm = forms.ModelForm

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


class LinesField(forms.CharField):
    """Texts, one a line."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
    limit = 200

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        lines = map(str.strip, (super().to_python(value) or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def validate(self, value: Any) -> None:
        super().validate(value)
        if len(value) > self.limit:
            raise ValidationError(f"Enter {self.limit} lines at most.")

    def run_validators(self, value: Any) -> None:
        """The rules of a single text do not apply to a list."""


class PickedOrPasted(forms.Textarea):
    """Lines, and besides them what a picker of the same name has ticked.

    What stands in `picked` is shown by the picker, and not as a line.
    """

    picked: frozenset[str] = frozenset()

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        return "\n".join(data.getlist(name))

    def format_value(self, value: Any) -> str | None:
        lines = (super().format_value(value) or "").splitlines()
        return "\n".join(each for each in lines if _object_id(each) not in self.picked)


def _object_id(line: str) -> str:
    """A picker hands out "tenant id/object id"; the connection names the tenant."""
    return line.strip().lower().rpartition("/")[2]


class ObjectIdsField(LinesField):
    """Object ids of Entra, picked, or one a line; in lower case, as Microsoft's."""

    widget = PickedOrPasted(attrs={"rows": 4, "spellcheck": "false"})
    limit = 2000

    def to_python(self, value: Any) -> Any:
        return list(dict.fromkeys(map(_object_id, super().to_python(value))))

    def validate(self, value: Any) -> None:
        super().validate(value)
        wrong = [line for line in value if not is_guid(line)]
        if wrong:
            raise ValidationError(f"Not an object ID: {', '.join(wrong[:5])}.")


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


class GuardLimitsForm(LimitsModelForm):
    """From when on losses are held: in percent and in numbers, whichever is met first."""

    class Meta:
        model = GuardLimits
        fields = (
            "people_percent",
            "people_absolute",
            "memberships_percent",
            "memberships_absolute",
            "members_percent",
            "members_absolute",
        )
        labels = {
            name: label
            for what in ("people", "memberships", "members")
            for name, label in (
                (f"{what}_percent", "Percent of them"),
                (f"{what}_absolute", "Or so many"),
            )
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.validators.append(MinValueValidator(1))
            field.widget.attrs["min"] = 1
            if name.endswith("_percent"):
                field.validators.append(MaxValueValidator(100))
                field.widget.attrs["max"] = 100


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


class FilterForm(forms.Form):
    """Which people and groups a connection reads."""

    which = forms.ChoiceField(
        label="Which groups",
        choices=[("all", "Every group"), ("some", "Only these groups")],
        widget=forms.RadioSelect,
    )
    name_patterns = LinesField(
        label="Names",
        required=False,
        help_text="One pattern a line, with * for anything and ? for one character: "
        "Mac *. Letter case and accents do not matter.",
    )
    group_types = forms.MultipleChoiceField(
        label="Types",
        required=False,
        choices=[(each.value, each.label) for each in GroupType],
        widget=forms.CheckboxSelectMultiple,
        help_text="With names, a group has to match one of the names and be of one of "
        "the types.",
    )
    group_ids = ObjectIdsField(
        label="Object IDs",
        required=False,
        help_text="One a line, of groups that no search finds because they were never "
        "read.",
    )
    members = forms.BooleanField(label="Members", required=False)
    guests = forms.BooleanField(label="Guests", required=False)
    only_enabled = forms.BooleanField(
        label="Only whose account is enabled",
        required=False,
        help_text="A disabled person then is no longer read, and is not known: neither "
        "a member of a group nor none.",
    )

    @classmethod
    def of(cls, chosen: ReadFilter) -> "FilterForm":
        """A form that shows a filter."""
        return cls(
            initial={
                "which": "some" if chosen.picks_groups else "all",
                "name_patterns": list(chosen.name_patterns),
                "group_types": list(chosen.group_types),
                "group_ids": list(chosen.group_ids),
                "members": chosen.members,
                "guests": chosen.guests,
                "only_enabled": chosen.only_enabled,
            }
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        named = ("name_patterns", "group_types", "group_ids")
        which = cleaned.get("which")
        if which == "some" and not self.errors and not any(map(cleaned.get, named)):
            self.add_error(
                "which", "Say which groups: by name, by type, or by picking them."
            )
        if not self.errors and not (cleaned.get("members") or cleaned.get("guests")):
            self.add_error("members", "Read members, guests, or both.")
        return cleaned

    def chosen(self) -> ReadFilter:
        """What was chosen. Call it when the form is valid."""
        data = self.cleaned_data
        some = data["which"] == "some"
        return ReadFilter(
            group_ids=tuple(data["group_ids"]) if some else (),
            name_patterns=tuple(data["name_patterns"]) if some else (),
            group_types=tuple(data["group_types"]) if some else (),
            members=data["members"],
            guests=data["guests"],
            only_enabled=data["only_enabled"],
        )


class ScheduleForm(ConnectionModelForm):
    """How often changes are read, and at which hour everything."""

    delta_minutes = forms.TypedChoiceField(
        label="Changes", choices=[(n, "") for n in DELTA_MINUTES], coerce=int
    )
    full_read_hour = forms.TypedChoiceField(
        label="Everything, every day at",
        choices=[(hour, f"{hour:02}:00") for hour in range(24)],
        coerce=int,
    )

    class Meta:
        model = CloudIdentityProvider
        fields = ("delta_minutes", "full_read_hour")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        minutes = self.fields["delta_minutes"]
        offered = sorted({*DELTA_MINUTES, delta_minutes(self.instance)})
        minutes.choices = [  # type: ignore[attr-defined]
            (n, "every minute" if n == 1 else f"every {n} minutes") for n in offered
        ]
        minutes.help_text = (
            f"Slower than every {SLOWEST_REVOCATION} minutes, whoever leaves a group "
            "keeps what it gives for as long."
        )
        self.fields[
            "full_read_hour"
        ].help_text = (
            f"In the console's time zone, {timezone.get_default_timezone_name()}."
        )
        self.initial["delta_minutes"] = delta_minutes(self.instance)
        self.initial["full_read_hour"] = full_read_hour(self.instance)


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


class PreviewForm(forms.Form):
    # It stands in the form of the mappings, which is sent without it.
    use_required_attribute = False

    person = forms.CharField(
        label="Person",
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
