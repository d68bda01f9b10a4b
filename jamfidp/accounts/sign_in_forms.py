"""The forms of people who are not signed in yet."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from jamfidp.accounts.models import User


class CodeInput(forms.TextInput):
    """For what works for whoever reads it: a page never repeats what was typed."""

    def format_value(self, value: Any) -> None:
        return None


class SignInForm(forms.Form):
    username = forms.CharField(
        label="User name",
        max_length=255,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    password = forms.CharField(
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class PasswordForm(forms.Form):
    """The password of somebody who is signed in, once more."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class CodeForm(forms.Form):
    """A code of an authenticator app."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        help_text="The six digits that the app shows now.",
        widget=CodeInput(
            attrs={
                "autocomplete": "one-time-code",
                "inputmode": "numeric",
                "spellcheck": "false",
            }
        ),
    )


class RecoveryCodeForm(CodeForm):
    code = forms.CharField(
        label="Recovery code",
        max_length=40,
        help_text="Each of your recovery codes works once.",
        widget=CodeInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class PasskeyForm(forms.Form):
    """A new passkey: the answer is filled in by the browser."""

    name = forms.CharField(
        max_length=100,
        help_text="By which you know it later, such as the device it is on.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    answer = forms.CharField(
        widget=forms.HiddenInput,
        error_messages={
            "required": "The browser made no passkey. Try again, or use an app."
        },
    )


class NewPasswordForm(forms.Form):
    """A new password, typed twice and held against the rules for `account`."""

    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        help_text="At least 12 characters.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password_again = forms.CharField(
        label="Password, once more",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def account(self) -> User:
        """The account that the password must not resemble."""
        return User()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        password = cleaned.get("password", "")
        again = cleaned.get("password_again", "")
        if password and again and password != again:
            self.add_error("password_again", "The two passwords are different.")
        elif password:
            try:
                validate_password(password, user=self.account())
            except ValidationError as refused:
                self.add_error("password", refused)
        return cleaned


class SetUpForm(NewPasswordForm):
    code = forms.CharField(
        label="Set-up code",
        max_length=100,
        help_text="Printed on the console's server by the command manage.py setup_code.",
        widget=CodeInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    username = forms.CharField(
        label="User name",
        max_length=255,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    full_name = forms.CharField(label="Full name", max_length=255, required=False)

    field_order = ("code", "username", "full_name", "password", "password_again")

    def account(self) -> User:
        return User(
            username=self.cleaned_data.get("username", ""),
            full_name=self.cleaned_data.get("full_name", ""),
        )
