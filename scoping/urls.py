"""Pages of scoping. Lists of routes by part of the navigation, in its order."""

from django.urls import URLPattern, URLResolver, path

from scoping import urls_objects
from scoping.views import devices, imports, inventory_users, organization

app_name = "scoping"

computers: list[URLPattern] = [
    path("computers/", devices.computer_list, name="computer-list"),
    path("computers/new/", devices.computer_new, name="computer-new"),
    path("computers/export/", devices.computer_export, name="computer-export"),
    path("computers/import/", imports.computer_import, name="computer-import"),
    path(
        "computers/import/template.csv",
        imports.computer_import_template,
        name="computer-import-template",
    ),
    path(
        "computers/import/<int:pk>/",
        imports.computer_import_preview,
        name="computer-import-preview",
    ),
    path(
        "computers/import/<int:pk>/apply/",
        imports.computer_import_apply,
        name="computer-import-apply",
    ),
    path(
        "computers/import/<int:pk>/drop/",
        imports.computer_import_drop,
        name="computer-import-drop",
    ),
    path(
        "computers/import/<int:pk>/refused.csv",
        imports.computer_import_refused,
        name="computer-import-refused",
    ),
    path("computers/<int:pk>/", devices.computer_detail, name="computer-detail"),
    path("computers/<int:pk>/edit/", devices.computer_edit, name="computer-edit"),
    path(
        "computers/<int:pk>/user-and-location/",
        devices.computer_location,
        name="computer-location",
    ),
    path(
        "computers/<int:pk>/look-up/",
        devices.computer_look_up,
        name="computer-look-up",
    ),
    path("computers/<int:pk>/take/", devices.computer_take, name="computer-take"),
    path("computers/<int:pk>/log-in/", devices.computer_login, name="computer-login"),
    path("computers/<int:pk>/delete/", devices.computer_delete, name="computer-delete"),
]

mobile_devices: list[URLPattern] = [
    path("devices/", devices.mobiledevice_list, name="mobiledevice-list"),
    path("devices/new/", devices.mobiledevice_new, name="mobiledevice-new"),
    path("devices/export/", devices.mobiledevice_export, name="mobiledevice-export"),
    path("devices/import/", imports.mobiledevice_import, name="mobiledevice-import"),
    path(
        "devices/import/template.csv",
        imports.mobiledevice_import_template,
        name="mobiledevice-import-template",
    ),
    path(
        "devices/import/<int:pk>/",
        imports.mobiledevice_import_preview,
        name="mobiledevice-import-preview",
    ),
    path(
        "devices/import/<int:pk>/apply/",
        imports.mobiledevice_import_apply,
        name="mobiledevice-import-apply",
    ),
    path(
        "devices/import/<int:pk>/drop/",
        imports.mobiledevice_import_drop,
        name="mobiledevice-import-drop",
    ),
    path(
        "devices/import/<int:pk>/refused.csv",
        imports.mobiledevice_import_refused,
        name="mobiledevice-import-refused",
    ),
    path("devices/<int:pk>/", devices.mobiledevice_detail, name="mobiledevice-detail"),
    path("devices/<int:pk>/edit/", devices.mobiledevice_edit, name="mobiledevice-edit"),
    path(
        "devices/<int:pk>/user-and-location/",
        devices.mobiledevice_location,
        name="mobiledevice-location",
    ),
    path(
        "devices/<int:pk>/look-up/",
        devices.mobiledevice_look_up,
        name="mobiledevice-look-up",
    ),
    path("devices/<int:pk>/take/", devices.mobiledevice_take, name="mobiledevice-take"),
    path(
        "devices/<int:pk>/delete/",
        devices.mobiledevice_delete,
        name="mobiledevice-delete",
    ),
]

users: list[URLPattern] = [
    path(
        "users/matching/", inventory_users.inventoryuser_list, name="inventoryuser-list"
    ),
    path(
        "users/matching/<int:pk>/",
        inventory_users.inventoryuser_detail,
        name="inventoryuser-detail",
    ),
    path(
        "users/matching/<int:pk>/confirm/",
        inventory_users.inventoryuser_confirm,
        name="inventoryuser-confirm",
    ),
    path(
        "users/matching/counts/",
        inventory_users.match_counts,
        name="match-counts-fragment",
    ),
    path(
        "users/devices/",
        devices.directoryuser_devices,
        name="directoryuser-devices-fragment",
    ),
]

settings: list[URLPattern] = [
    path("settings/sites/", organization.site_list, name="site-list"),
    path("settings/sites/new/", organization.site_new, name="site-new"),
    path("settings/sites/<int:pk>/", organization.site_detail, name="site-detail"),
    path("settings/sites/<int:pk>/edit/", organization.site_edit, name="site-edit"),
    path(
        "settings/sites/<int:pk>/delete/", organization.site_delete, name="site-delete"
    ),
    path("settings/buildings/", organization.building_list, name="building-list"),
    path("settings/buildings/new/", organization.building_new, name="building-new"),
    path(
        "settings/buildings/<int:pk>/",
        organization.building_detail,
        name="building-detail",
    ),
    path(
        "settings/buildings/<int:pk>/edit/",
        organization.building_edit,
        name="building-edit",
    ),
    path(
        "settings/buildings/<int:pk>/delete/",
        organization.building_delete,
        name="building-delete",
    ),
    path("settings/departments/", organization.department_list, name="department-list"),
    path(
        "settings/departments/new/", organization.department_new, name="department-new"
    ),
    path(
        "settings/departments/<int:pk>/",
        organization.department_detail,
        name="department-detail",
    ),
    path(
        "settings/departments/<int:pk>/edit/",
        organization.department_edit,
        name="department-edit",
    ),
    path(
        "settings/departments/<int:pk>/delete/",
        organization.department_delete,
        name="department-delete",
    ),
    path(
        "settings/network-segments/",
        organization.networksegment_list,
        name="networksegment-list",
    ),
    path(
        "settings/network-segments/new/",
        organization.networksegment_new,
        name="networksegment-new",
    ),
    path(
        "settings/network-segments/<int:pk>/",
        organization.networksegment_detail,
        name="networksegment-detail",
    ),
    path(
        "settings/network-segments/<int:pk>/edit/",
        organization.networksegment_edit,
        name="networksegment-edit",
    ),
    path(
        "settings/network-segments/<int:pk>/delete/",
        organization.networksegment_delete,
        name="networksegment-delete",
    ),
]

urlpatterns: list[URLPattern | URLResolver] = [
    *computers,
    *mobile_devices,
    *users,
    *settings,
    *urls_objects.urlpatterns,
]
