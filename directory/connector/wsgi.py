"""The WSGI entry point of a connector that is served alone, for gunicorn."""

import os

import django

from jamfidp.boundary import Handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "directory.connector.settings")
django.setup(set_prefix=False)

application = Handler()
