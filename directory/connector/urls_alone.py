"""Every address of a connector that is served alone."""

from urllib.parse import urlsplit

from django.conf import settings
from django.urls import include, path

from directory.connector import views

_prefix = urlsplit(str(settings.CONNECTOR_URL)).path.strip("/")

urlpatterns = [
    path("health/", views.health, name="health"),
    path(f"{_prefix}/" if _prefix else "", include("directory.connector.urls")),
]

handler400 = "directory.connector.views.bad_request"
handler404 = "directory.connector.views.not_found"
handler500 = "directory.connector.views.server_error"
