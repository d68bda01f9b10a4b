"""Forms of application registrations and their credentials. Secrets are write-only."""

from datetime import UTC, date, datetime, time
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from directory import certificates
from directory.certificates import KeyPair


class SecretInput(forms.PasswordInput):
    """Write-only: what was typed is never sent back to the browser."""

    def __init__(self) -> None:
        super().__init__(
            attrs={"autocomplete": "off", "spellcheck": "false"}, render_value=False
        )


class SecretTextarea(forms.Textarea):
    """Write-only, for several lines: a private key."""

    def format_value(self, value: Any) -> str:
        return ""


class ClientIdForm(forms.Form):
    client_id = forms.CharField(
        label="Application (client) ID",
        max_length=36,
        help_text="From the Overview page of the registration.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    connections_confirmed = forms.BooleanField(
        label="Change the client ID although connections rely on it",
        required=False,
        help_text="Each of them needs consent again before it can be read.",
    )


class ExpiryForm(forms.Form):
    expires_on = forms.DateField(
        label="Expires on",
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        help_text="As Microsoft shows it. The console announces it 60, 30, 7 and 1 days "
        "before. Without a date it cannot.",
    )

    def expires_at(self) -> datetime | None:
        """The end of the day entered, in UTC, as Microsoft counts."""
        day: date | None = self.cleaned_data.get("expires_on")
        return datetime.combine(day, time(23, 59, 59), tzinfo=UTC) if day else None


class SecretForm(ExpiryForm):
    client_secret = forms.CharField(
        label="Client secret",
        max_length=1000,
        strip=True,
        widget=SecretInput,
        help_text="The secret's value. It is encrypted, and never shown again.",
    )
    field_order = ("client_secret", "expires_on")


class CertificateForm(forms.Form):
    """A file with both, or two texts."""

    file = forms.FileField(
        label="File with certificate and private key",
        required=False,
        help_text="PKCS#12 (.pfx, .p12), or PEM with both.",
        widget=forms.ClearableFileInput(
            attrs={"accept": ".pfx,.p12,.pem,.key,.crt,application/x-pkcs12"}
        ),
    )
    certificate_pem = forms.CharField(
        label="Certificate",
        required=False,
        widget=forms.Textarea(
            attrs={
                "rows": 6,
                "spellcheck": "false",
                "placeholder": "-----BEGIN CERTIFICATE-----",
            }
        ),
        help_text="In PEM form.",
    )
    private_key_pem = forms.CharField(
        label="Private key",
        required=False,
        widget=SecretTextarea(
            attrs={
                "rows": 6,
                "spellcheck": "false",
                "autocomplete": "off",
                "placeholder": "-----BEGIN PRIVATE KEY-----",
            }
        ),
        help_text="RSA, in PEM form. It is encrypted, and never shown again.",
    )
    passphrase = forms.CharField(
        label="Passphrase",
        required=False,
        strip=False,
        widget=SecretInput,
        help_text="Only if the file or the key is encrypted. It is not kept.",
    )

    def clean(self) -> dict[str, Any]:
        entered = super().clean() or {}
        texts = [
            name for name in ("certificate_pem", "private_key_pem") if entered.get(name)
        ]
        if entered.get("file"):
            if texts:
                raise ValidationError(
                    "Choose a file or paste the two texts, not both: they could differ."
                )
        elif not texts:
            self.add_error("file", "Choose a file, or paste certificate and key below.")
        elif "private_key_pem" not in texts:
            self.add_error("private_key_pem", "Paste the private key as well.")
        elif "certificate_pem" not in texts:
            self.add_error("certificate_pem", "Paste the certificate as well.")
        return entered

    def pair(self, *, now: datetime) -> KeyPair:
        """Return what was entered, checked. Raises RegistrationRefused."""
        entered = self.cleaned_data
        file: UploadedFile | None = entered["file"]
        if file is not None:
            content = file.read(certificates.MAX_FILE_BYTES + 1)
            return certificates.from_file(
                content, passphrase=entered["passphrase"], now=now
            )
        return certificates.from_text(
            certificate_pem=entered["certificate_pem"],
            private_key_pem=entered["private_key_pem"],
            passphrase=entered["passphrase"],
            now=now,
        )


def _named_files() -> list[tuple[str, str]]:
    return [(file, file) for file in settings.FEDERATED_TOKEN_FILES]


class AssertionForm(forms.Form):
    assertion_file = forms.ChoiceField(
        label="File",
        choices=_named_files,
        widget=forms.RadioSelect,
        help_text="The files that FEDERATED_TOKEN_FILES names. The console reads no "
        "other.",
    )
