"""Settings of a Cloud Connector that is served alone, for several consoles.

It has no database, no session, no account and no credential: an address, a key, and a
file that names its consoles. Everything comes from the environment; a value that is a
secret can come from a file (`NAME_FILE`), as container platforms hand them over.
"""

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from jamfidp import serving

env = environ.FileAwareEnv()
environ.Env.read_env(env.str("ENV_FILE", default=os.devnull))


def _required(name: str, what: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: {what}.")
    return value


# The one address of the connector. Microsoft's answers come to it: it is fixed here
# and never taken from a request.
CONNECTOR_URL = _required(
    "CONNECTOR_URL", "the https address that Microsoft's answers come to"
).rstrip("/")
_address = urlsplit(CONNECTOR_URL)
_https = _address.scheme == "https"
if not _https and not (
    _address.scheme == "http" and _address.hostname in {"localhost", "127.0.0.1"}
):
    raise ImproperlyConfigured(
        "CONNECTOR_URL has to be an https address; plain http is accepted on this "
        "machine alone."
    )
# Signs what goes to the consoles, which know its public half; EC P-256 in PEM.
CONNECTOR_SIGNING_KEY = _required(
    "CONNECTOR_SIGNING_KEY",
    "the private key whose public half the consoles know. `openssl ecparam -name "
    "prime256v1 -genkey -noout` makes one",
)
CONNECTOR_CONSOLES_FILE = _required(
    "CONNECTOR_CONSOLES_FILE", "the JSON file that names the consoles it serves"
)
# What only consoles have.
CONNECTOR_PUBLIC_KEY = CONSOLE_SIGNING_KEY = ""

# Django wants one; nothing of the connector is signed with it.
SECRET_KEY = hashlib.sha256(f"unused {CONNECTOR_SIGNING_KEY}".encode()).hexdigest()
DEBUG = False
PRODUCTION = _address.hostname not in {"localhost", "127.0.0.1", "::1"}
# A connector that looks something up in a database is a defect: there is none.
DATABASES: dict[str, dict[str, str]] = {}

# As in the console: stands in for Microsoft on this machine, never in production.
ENTRA_SANDBOX_URL = env.str("ENTRA_SANDBOX_URL", default="")
ENTRA_SANDBOX_CA_FILE = env.str("ENTRA_SANDBOX_CA_FILE", default="")
OUTGOING_PROXY = env.str("HTTPS_PROXY", default=env.str("https_proxy", default=""))
OUTGOING_NO_PROXY = env.str("NO_PROXY", default=env.str("no_proxy", default=""))
OUTGOING_CA_FILE = env.str("OUTGOING_CA_FILE", default="")

ALLOWED_HOSTS = [_address.hostname or "localhost"]
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])
INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "directory.connector",
]
MIDDLEWARE = [
    "jamfidp.proxies.ForwardedHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jamfidp.boundary.PrivatePagesMiddleware",
    "csp.middleware.CSPMiddleware",
    "jamfidp.boundary.DamagedRefusedMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "directory.connector.urls_alone"
WSGI_APPLICATION = "directory.connector.wsgi.application"
TEMPLATES = serving.templates()

SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
# Addresses here carry codes and signed requests: no page says where it was.
SECURE_REFERRER_POLICY = "no-referrer"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = serving.CONTENT_SECURITY_POLICY

BASE_DIR = serving.BASE_DIR
STATIC_URL = "static/"
STATIC_ROOT = (
    Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))) / "static-connector"
)
STATICFILES_DIRS = [BASE_DIR / "jamfidp" / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    *serving.STATICFILES_FINDERS,
]
STORAGES = serving.STORAGES
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = serving.WHITENOISE_SKIP_COMPRESS_EXTENSIONS
ICONS_DIR = serving.ICONS_DIR

USE_I18N = False
USE_TZ = True
LOGGING = serving.log_to_console(env.str("LOG_LEVEL", default="INFO"))
