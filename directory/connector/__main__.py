"""Say what the consoles and the registrations have to know of this connector.

    python -m directory.connector

reads the settings of a connector that is served alone, and prints its public key, its
redirect URIs and the consoles it serves. It exits with a sentence when a setting is
missing or wrong.
"""

import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "directory.connector.settings")
    try:
        django.setup()
        sys.stdout.write(describe())
    except ImproperlyConfigured as fault:
        sys.exit(f"The connector cannot start. {fault}")


def describe() -> str:
    from directory.connector import configuration, keys

    address = configuration.connector_id()
    public = keys.public_pem(keys.signing_key("connector").public_key())
    redirect_uris = [f"{address}/{end}/" for end in ("consent", "code", "signed-out")]
    served = [
        f"  {console.id}, for {len(console.client_ids)} application"
        f"{'' if len(console.client_ids) == 1 else 's'}"
        for console in configuration.consoles()
    ]
    return "\n".join(
        [
            "Settings of each console:",
            "",
            f"CONNECTOR_URL={address}",
            "CONNECTOR_PUBLIC_KEY:",
            public.strip(),
            "",
            "Redirect URIs of each application registration, besides the console's own:",
            *(f"  {uri}" for uri in redirect_uris),
            "",
            "Consoles served:",
            *(served or ["  none"]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
