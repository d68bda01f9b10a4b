"""Pages of cloud identity providers; one list per part, joined at the end."""

from django.urls import URLPattern, URLResolver, path

from directory.urls_browsing import browsing_patterns
from directory.views import connections, consent, credentials, registration, wizard

app_name = "directory"

registration_patterns: list[URLPattern | URLResolver] = [
    path(
        "settings/entra-application/",
        registration.registration_list,
        name="application-registration",
    ),
    path(
        "settings/entra-application/own/new/",
        registration.own_registration_new,
        name="own-registration-new",
    ),
    path(
        "settings/entra-application/own/<int:pk>/",
        registration.own_registration_detail,
        name="own-registration-detail",
    ),
    path(
        "settings/entra-application/own/<int:pk>/client/",
        registration.own_registration_client,
        name="own-registration-client",
    ),
    path(
        "settings/entra-application/own/<int:pk>/delete/",
        registration.own_registration_delete,
        name="own-registration-delete",
    ),
    path(
        "settings/entra-application/registrations/<int:pk>/add/<slug:way>/",
        credentials.credential_add,
        name="credential-add",
    ),
    path(
        "settings/entra-application/credentials/<int:pk>/use/",
        credentials.credential_use,
        name="credential-use",
    ),
    path(
        "settings/entra-application/credentials/<int:pk>/prove/",
        credentials.credential_prove,
        name="credential-prove",
    ),
    path(
        "settings/entra-application/credentials/<int:pk>/expiry/",
        credentials.credential_expiry,
        name="credential-expiry",
    ),
    path(
        "settings/entra-application/credentials/<int:pk>/remove/",
        credentials.credential_remove,
        name="credential-remove",
    ),
    path(
        "settings/entra-application/credentials/<int:pk>/download/",
        credentials.credential_download,
        name="credential-download",
    ),
    path(
        "settings/entra-application/<slug:cloud_key>/",
        registration.registration_page,
        name="application-registration-cloud",
    ),
    path(
        "settings/entra-application/<slug:cloud_key>/client/",
        registration.save_client,
        name="application-registration-client",
    ),
]

consent_patterns: list[URLPattern | URLResolver] = [
    path("settings/cloud-idps/new/", wizard.choose_provider, name="cloud-idp-new"),
    path(
        "settings/cloud-idps/new/entra/",
        wizard.check_preconditions,
        name="cloud-idp-new-entra",
    ),
    path(
        "settings/cloud-idps/new/entra/permissions/",
        wizard.explain_permissions,
        name="cloud-idp-new-permissions",
    ),
    path(
        "settings/cloud-idps/new/entra/start/",
        wizard.start,
        name="cloud-idp-new-start",
    ),
    path(
        "settings/cloud-idps/consent/callback/",
        consent.callback,
        name="consent-callback",
    ),
    path(
        "settings/cloud-idps/consent/refused/<slug:reason>/",
        consent.refused_page,
        name="consent-refused",
    ),
    path(
        "settings/cloud-idps/consent/<int:pk>/",
        consent.attempt_page,
        name="consent-attempt",
    ),
    path(
        "settings/cloud-idps/consent/<int:pk>/verify/",
        consent.verify,
        name="consent-verify",
    ),
    path(
        "settings/cloud-idps/consent/<int:pk>/end-session/",
        consent.end_session,
        name="consent-end",
    ),
]

connection_patterns: list[URLPattern | URLResolver] = [
    path("settings/cloud-idps/", connections.cloud_idp_list, name="cloud-idp-list"),
    path(
        "settings/cloud-idps/<int:pk>/",
        connections.cloud_idp_detail,
        name="cloud-idp-detail",
    ),
    path(
        "settings/cloud-idps/<int:pk>/edit/",
        connections.cloud_idp_edit,
        name="cloud-idp-edit",
    ),
    path(
        "settings/cloud-idps/<int:pk>/mappings/",
        connections.cloud_idp_mappings,
        name="cloud-idp-mappings",
    ),
    path(
        "settings/cloud-idps/<int:pk>/test/",
        connections.cloud_idp_test,
        name="cloud-idp-test",
    ),
    path(
        "settings/cloud-idps/<int:pk>/permissions/",
        connections.cloud_idp_permissions,
        name="cloud-idp-permissions",
    ),
    path(
        "settings/cloud-idps/<int:pk>/history/",
        connections.cloud_idp_history,
        name="cloud-idp-history",
    ),
    path(
        "settings/cloud-idps/<int:pk>/check/",
        connections.cloud_idp_check,
        name="cloud-idp-check",
    ),
    path(
        "settings/cloud-idps/<int:pk>/consent-again/",
        wizard.consent_again,
        name="cloud-idp-consent",
    ),
    path(
        "settings/cloud-idps/<int:pk>/enable/",
        connections.cloud_idp_enable,
        name="cloud-idp-enable",
    ),
    path(
        "settings/cloud-idps/<int:pk>/disable/",
        connections.cloud_idp_disable,
        name="cloud-idp-disable",
    ),
    path(
        "settings/cloud-idps/<int:pk>/delete/",
        connections.cloud_idp_delete,
        name="cloud-idp-delete",
    ),
]

urlpatterns: list[URLPattern | URLResolver] = [
    *registration_patterns,
    *consent_patterns,
    *connection_patterns,
    *browsing_patterns,
]
