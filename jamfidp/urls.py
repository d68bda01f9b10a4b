"""Every page of the console."""

from django.conf import settings
from django.urls import include, path

from jamfidp import views

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("search/", views.search, name="search"),
    path("health/", views.health, name="health"),
    path("settings/", views.settings_index, name="settings"),
    path("settings/system/", views.system, name="system"),
    path("settings/system/address-check/", views.address_check, name="address-check"),
    path("", include("jamfidp.accounts.urls")),
    path("", include("jamfidp.history.urls")),
    path("", include("jamfidp.notices.urls")),
    path("", include("directory.urls")),
    path("", include("scoping.urls")),
]

if f"{settings.CONSOLE_URL}/connector" == settings.CONNECTOR_URL:
    # Else another one is served elsewhere, and this console is one of its consoles.
    urlpatterns.append(path("connector/", include("directory.connector.urls")))

if settings.COMPONENT_GALLERY:
    from jamfidp import gallery

    urlpatterns.append(path("components/", gallery.components, name="gallery"))

handler400 = "jamfidp.errors.bad_request"
handler404 = "jamfidp.views.not_found"
handler500 = "jamfidp.views.server_error"
