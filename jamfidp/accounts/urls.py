from django.urls import path

from jamfidp.accounts.views import (
    account_groups,
    fragments,
    my_privileges,
    sessions,
    sign_in,
    site_choice,
    user_accounts,
)

app_name = "accounts"
urlpatterns = [
    path("login/", sign_in.login_page, name="login"),
    path("logout/", sign_in.logout_page, name="logout"),
    path("setup/", sign_in.setup, name="setup"),
    path("login/entra/", sign_in.entra_start, name="entra-start"),
    path("login/entra/callback/", sign_in.entra_callback, name="entra-callback"),
    path("login/entra/refused/", sign_in.entra_refused, name="entra-refused"),
    path("account/privileges/", my_privileges.my_privileges, name="my-privileges"),
    path("account/sessions/", sessions.my_sessions, name="my-sessions"),
    path("account/sessions/end/", sessions.end_my_sessions, name="my-sessions-end"),
    path("account/sessions/keep/", sessions.keep_session, name="session-keep"),
    path("account/site/", site_choice.choose_site, name="choose-site"),
    path("settings/accounts/", user_accounts.user_list, name="user-list"),
    path("settings/accounts/new/", user_accounts.user_new, name="user-new"),
    path("settings/accounts/<int:pk>/", user_accounts.user_detail, name="user-detail"),
    path("settings/accounts/<int:pk>/edit/", user_accounts.user_edit, name="user-edit"),
    path(
        "settings/accounts/<int:pk>/password/",
        user_accounts.user_password,
        name="user-password",
    ),
    path(
        "settings/accounts/<int:pk>/sessions/end/",
        sessions.end_sessions_of,
        name="user-sessions-end",
    ),
    path(
        "settings/accounts/<int:pk>/delete/",
        user_accounts.user_delete,
        name="user-delete",
    ),
    path(
        "settings/accounts/of-person/<str:tenant_id>/<str:object_id>/",
        fragments.directory_user,
        name="directory-user",
    ),
    path(
        "settings/account-groups/",
        account_groups.accountgroup_list,
        name="accountgroup-list",
    ),
    path(
        "settings/account-groups/new/",
        account_groups.accountgroup_new,
        name="accountgroup-new",
    ),
    path(
        "settings/account-groups/from-directory/",
        account_groups.accountgroup_from_directory,
        name="accountgroup-from-directory",
    ),
    path(
        "settings/account-groups/<int:pk>/",
        account_groups.accountgroup_detail,
        name="accountgroup-detail",
    ),
    path(
        "settings/account-groups/<int:pk>/edit/",
        account_groups.accountgroup_edit,
        name="accountgroup-edit",
    ),
    path(
        "settings/account-groups/<int:pk>/delete/",
        account_groups.accountgroup_delete,
        name="accountgroup-delete",
    ),
    path(
        "settings/account-groups/<int:pk>/directory-groups/new/",
        account_groups.binding_new,
        name="binding-new",
    ),
    path(
        "settings/account-groups/<int:pk>/directory-groups/<int:binding_pk>/delete/",
        account_groups.binding_delete,
        name="binding-delete",
    ),
    path(
        "settings/account-groups/of-group/<str:tenant_id>/<str:object_id>/",
        fragments.directory_group,
        name="directory-group",
    ),
]
