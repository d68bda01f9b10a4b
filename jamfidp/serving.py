"""Settings that every process that serves pages shares: the console, and a Cloud
Connector that is served alone. Plain values: Django is not set up when this is read.
"""

import logging
from copy import copy
from pathlib import Path
from typing import Any

from csp.constants import SELF

BASE_DIR = Path(__file__).resolve().parent.parent

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # Tabler's stylesheet carries its small icons as data: images.
        "img-src": [SELF, "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": [SELF],
        "frame-ancestors": ["'none'"],
    }
}

STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "jamfidp.assets.NpmFinder",
]
ICONS_DIR = BASE_DIR / "node_modules" / "@tabler" / "icons" / "icons" / "outline"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# Maps, which only the tools of developers ask for, took half the time of collecting.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ("map", "png", "br", "gz")


def templates(*context_processors: str) -> list[dict[str, Any]]:
    return [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [BASE_DIR / "templates"],
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    *context_processors,
                ],
                "builtins": ["jamfidp.templatetags.components"],
            },
        }
    ]


class Line(logging.Formatter):
    """A line; with the stack trace where the fault is the console's.

    Django adds one to each request that it refuses, and anybody can send those.
    """

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "status_code", 500) < 500:
            record = copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)


def log_to_console(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": Line,
                "format": "{asctime} {levelname} {name} {message}",
                "style": "{",
            }
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "line"}
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Both write whole addresses at DEBUG, and addresses can carry codes.
            "urllib3": {"level": "WARNING"},
            "msal": {"level": "WARNING"},
            # At DEBUG, all that a page was given, when it asks for what it was not.
            "django.template": {"level": "INFO"},
        },
    }
