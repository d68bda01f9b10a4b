"""The WSGI entry point, for gunicorn."""

import os

import django

from jamfidp.boundary import Handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jamfidp.settings")
django.setup(set_prefix=False)

application = Handler()
