"""The WSGI entry point of a connector that is served alone, for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "directory.connector.settings")

application = get_wsgi_application()
