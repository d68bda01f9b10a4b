"""The forms of Settings > Notifications and of one's own choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator

from jamfidp.notices.kinds import CONFIGURABLE, Kind
from jamfidp.notices.mail_choices import Choice

MOST_ADDRESSES = 20


class AddressesField(forms.CharField):
    """Mail addresses, separated by commas, spaces or line ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=2000, **kwargs)

    def clean(self, value: Any) -> Any:
        found = [one for one in re.split(r"[\s,;]+", super().clean(value)) if one]
        if len(found) > MOST_ADDRESSES:
            raise ValidationError(f"At most {MOST_ADDRESSES} addresses.")
        check = EmailValidator()
        for one in found:
            try:
                check(one)
            except ValidationError:
                raise ValidationError(f"{one} is no mail address.") from None
        return list(dict.fromkeys(found))


class NotificationsForm(forms.Form):
    """For each kind: whether it goes by mail, and where to besides the accounts."""

    def __init__(
        self, *args: Any, choices: Mapping[str, Choice], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for kind in CONFIGURABLE:
            choice = choices[kind.name]
            self.fields[f"mail-{kind.name}"] = forms.BooleanField(
                label=f"{kind.label}: by mail", required=False, initial=choice.by_mail
            )
            self.fields[f"to-{kind.name}"] = AddressesField(
                label=f"{kind.label}: also to these addresses",
                required=False,
                initial=", ".join(choice.addresses),
                widget=forms.TextInput(
                    attrs={"autocomplete": "off", "spellcheck": "false"}
                ),
            )

    def rows(self) -> list[tuple[Kind, forms.BoundField, forms.BoundField]]:
        return [
            (kind, self[f"mail-{kind.name}"], self[f"to-{kind.name}"])
            for kind in CONFIGURABLE
        ]

    def chosen(self) -> Mapping[str, Choice]:
        return {
            kind.name: Choice(
                by_mail=self.cleaned_data[f"mail-{kind.name}"],
                addresses=self.cleaned_data[f"to-{kind.name}"],
            )
            for kind in CONFIGURABLE
        }


class TestMailForm(forms.Form):
    # pytest collects classes of such names; Django's forms take no arguments there.
    __test__ = False

    address = forms.EmailField(label="Send a test mail to", max_length=320)
