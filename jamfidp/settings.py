"""Every setting of the console, read from the environment or a `.env` file.

Safe by default: with DEBUG off, a missing SECRET_KEY stops the process. Values
that are secrets can also come from a file (`NAME_FILE`), as container platforms
hand them over.
"""

from pathlib import Path
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured

from directory.entra.tls import FORWARD_SECRET
from jamfidp import in_transit, serving

# `ModelForm[Row]` and the like are types to mypy and errors to Python without this.
django_stubs_ext.monkeypatch()

BASE_DIR = serving.BASE_DIR

env = environ.FileAwareEnv()
environ.Env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))

# Where the console keeps what it writes: database, broker, static files, sandbox.
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it in the environment or in .env to a long random "
        "value that never changes, for example the output of `openssl rand -base64 48`."
    )

# Keys for secrets at rest, newest first: "id:base64 of 32 bytes", separated by commas.
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[])

# The one address of the console. Microsoft's answers come back to it, so it is
# fixed here and never taken from a request.
CONSOLE_URL = env.str("CONSOLE_URL", default="http://localhost:8000").rstrip("/")
_console = urlsplit(CONSOLE_URL)
if _console.scheme != "https" and not (
    _console.scheme == "http" and _console.hostname == "localhost"
):
    raise ImproperlyConfigured(
        "CONSOLE_URL has to be an https address; plain http is accepted for localhost alone."
    )

# Where the console is hosted: STANDARD_CLOUD, PREMIUM_CLOUD or ON_PREMISES.
HOSTING_TIER = env.str("HOSTING_TIER", default="STANDARD_CLOUD")

# The sandbox tenant stands in for Microsoft when it is named here. It has to be on
# loopback, and the console not in production: directory.clouds refuses to start else.
ENTRA_SANDBOX_URL = env.str("ENTRA_SANDBOX_URL", default="")
ENTRA_SANDBOX_CA_FILE = env.str("ENTRA_SANDBOX_CA_FILE", default="")

# How requests to Microsoft leave this machine: a proxy (its user name and password in
# the address), hosts that are reached without it, and a PEM file with certificate
# authorities that are trusted besides the public ones.
OUTGOING_PROXY = env.str("HTTPS_PROXY", default=env.str("https_proxy", default=""))
OUTGOING_NO_PROXY = env.str("NO_PROXY", default=env.str("no_proxy", default=""))
OUTGOING_CA_FILE = env.str("OUTGOING_CA_FILE", default="")

# Files to which the platform writes tokens that stand for this deployment (workload
# identity). An application may prove itself with them; no other file is read.
FEDERATED_TOKEN_FILES = env.list(
    "FEDERATED_TOKEN_FILES",
    # What the workload identity webhook of Kubernetes sets.
    default=list(filter(None, [env.str("AZURE_FEDERATED_TOKEN_FILE", default="")])),
)

# The Cloud Connector is mounted in the console, or served alone for several consoles;
# directory/connector/settings.py has the settings of that one.
# Signing keys are EC P-256 in PEM; without one, both are derived from SECRET_KEY.
CONNECTOR_URL = env.str("CONNECTOR_URL", default=f"{CONSOLE_URL}/connector").rstrip("/")
CONSOLE_SIGNING_KEY = env.str("CONSOLE_SIGNING_KEY", default="")
CONNECTOR_SIGNING_KEY = env.str("CONNECTOR_SIGNING_KEY", default="")
# The public key of a connector that is served elsewhere, in PEM.
CONNECTOR_PUBLIC_KEY = env.str("CONNECTOR_PUBLIC_KEY", default="")
# Only a connector that is served alone has a list of consoles.
CONNECTOR_CONSOLES_FILE = ""

# In production, unless every address that browsers reach it by is on this machine.
# What is admitted for trying the console out asks for this, and for nothing else.
PRODUCTION = not {_console.hostname, urlsplit(CONNECTOR_URL).hostname} <= {
    "localhost",
    "127.0.0.1",
    "::1",
}

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_console.hostname or "localhost"])
CSRF_TRUSTED_ORIGINS = [CONSOLE_URL] if _console.scheme == "https" else []
# Addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "jamfidp",
    "jamfidp.history",
    "jamfidp.notices",
    "jamfidp.accounts",
    "directory",
    "scoping",
]

MIDDLEWARE = [
    "jamfidp.proxies.ForwardedHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jamfidp.boundary.PrivatePagesMiddleware",
    "csp.middleware.CSPMiddleware",
    "jamfidp.boundary.DamagedRefusedMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "jamfidp.accounts.session_store.ActivityMiddleware",
    "jamfidp.accounts.middleware.SignInRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "jamfidp.accounts.site_choice.ChosenSiteMiddleware",
    "jamfidp.accounts.middleware.NoPrivilegesMiddleware",
]

ROOT_URLCONF = "jamfidp.urls"
WSGI_APPLICATION = "jamfidp.wsgi.application"

TEMPLATES = serving.templates(
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
    "jamfidp.navigation.console",
    "jamfidp.notices.bell.bell",
    "directory.held_banner.held",
)

DATABASES = {
    "default": env.db_url(
        "DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'console.sqlite3'}"
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes write: IMMEDIATE takes the write lock at BEGIN, so that a
    # second writer waits for it instead of failing halfway.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        # A large sync changes more pages than the usual 2 MB hold: each would be
        # written and read again before it is committed.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        " PRAGMA cache_size=-16384;",
    }
    # A file, as in production: an in-memory database has other locking rules.
    DATABASES["default"]["TEST"] = {"NAME": VAR_DIR / "test.sqlite3"}
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["jamfidp.accounts.backends.ConsoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"
    },
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "dashboard"
# Local accounts with Full Access need an authenticator app or a passkey. Only the demo,
# on this computer, goes without.
SECOND_FACTOR_REQUIRED = env.bool("SECOND_FACTOR_REQUIRED", default=True)
# A privilege held through the directory is suspended when the last good read is older.
DIRECTORY_FRESHNESS_HOURS = env.int("DIRECTORY_FRESHNESS_HOURS", default=24)

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Hours after the sign-in, and minutes without activity, after which a session ends.
SESSION_COOKIE_AGE = env.int("SESSION_HOURS", default=12) * 3600
SESSION_IDLE_MINUTES = env.int("SESSION_IDLE_MINUTES", default=60)
SESSION_ENGINE = "jamfidp.accounts.session_store"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _console.scheme == "https"
SECURE_SSL_REDIRECT = _console.scheme == "https"
SECURE_HSTS_SECONDS = 31_536_000 if _console.scheme == "https" else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _console.scheme == "https"
# Nothing goes to other origins. Pages that receive a code or an answer say no-referrer
# themselves; for all pages it would make browsers send `Origin: null` with every form,
# which the CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "jamfidp.errors.csrf_failure"

CONTENT_SECURITY_POLICY = serving.CONTENT_SECURITY_POLICY

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_FINDERS = serving.STATICFILES_FINDERS
ICONS_DIR = serving.ICONS_DIR
STORAGES = serving.STORAGES
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = serving.WHITENOISE_SKIP_COMPRESS_EXTENSIONS
WHITENOISE_MANIFEST_STRICT = True
COMPONENT_GALLERY = env.bool("COMPONENT_GALLERY", default=False)

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = False
USE_TZ = True

DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024

# kombu's filesystem broker is the embedded default: nothing to install. One variable
# moves the same code to Redis or RabbitMQ.
CELERY_BROKER_URL = env.str("BROKER_URL", default="filesystem://")
# The authority that the broker's certificate comes from, in PEM; without it the
# machine's authorities are trusted.
BROKER_CA_FILE = env.str("BROKER_CA_FILE", default="")
CELERY_BROKER_USE_SSL = in_transit.broker_tls(
    CELERY_BROKER_URL, ca_file=BROKER_CA_FILE, suites=FORWARD_SECRET
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "background"
if CELERY_BROKER_URL == "filesystem://":
    _broker = VAR_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "processed_folder": str(_broker / "processed"),
        "control_folder": str(_broker / "control"),
        "store_processed": False,
        "polling_interval": 0.2,
    }
# How often changes are read, where a connection has no interval of its own.
SYNC_DELTA_MINUTES = env.int("SYNC_DELTA_MINUTES", default=5)
# A run that reads longer is given up; the next one goes on with its pages.
SYNC_DEADLINE_MINUTES = env.int("SYNC_DEADLINE_MINUTES", default=180)
# Retention: pages of failed runs; people and groups deleted for good; past memberships,
# earlier values and the runs that they name; what was read through a deleted connection.
STAGED_PAGES_HOURS = env.int("STAGED_PAGES_HOURS", default=24)
DIRECTORY_GONE_DAYS = env.int("DIRECTORY_GONE_DAYS", default=30)
# What each run planned, with its differences; never longer than the run itself.
SYNC_PLAN_DAYS = env.int("SYNC_PLAN_DAYS", default=400)
DIRECTORY_INTERVAL_DAYS = env.int("DIRECTORY_INTERVAL_DAYS", default=400)
DELETED_CONNECTION_DAYS = env.int("DELETED_CONNECTION_DAYS", default=30)

# The mail server, as smtp+tls://user:password@mail.example.com:587. Without one, mail is
# written to the log of the worker.
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
# A mail server that hangs must not hold a worker.
EMAIL_TIMEOUT = 10
# Who the console's mails come from.
DEFAULT_FROM_EMAIL = env.str("MAIL_FROM", default=f"console@{_console.hostname}")

LOGGING = serving.log_to_console(env.str("LOG_LEVEL", default="INFO"))
