from django.urls import path

from jamfidp.accounts.views import (
    account_groups,
    fragments,
    my_privileges,
    second_factor,
    sessions,
    sign_in,
    site_choice,
    switches,
    user_accounts,
)

app_name = "accounts"
urlpatterns = [
    path("login/", sign_in.login_page, name="login"),
    path("login/second-factor/", second_factor.factor_page, name="second-factor"),
    path(
        "login/second-factor/questions/",
        second_factor.factor_questions,
        name="second-factor-questions",
    ),
    path(
        "login/second-factor/passkey/",
        second_factor.factor_passkey,
        name="second-factor-passkey",
    ),
    path("login/enrolled/", second_factor.enrolled, name="enrolled"),
    path("logout/", sign_in.logout_page, name="logout"),
    path("setup/", sign_in.setup, name="setup"),
    path("login/entra/", sign_in.entra_start, name="entra-start"),
    path("login/entra/callback/", sign_in.entra_callback, name="entra-callback"),
    path("login/entra/refused/", sign_in.entra_refused, name="entra-refused"),
    path("account/privileges/", my_privileges.my_privileges, name="my-privileges"),
    path("account/prove/", second_factor.prove, name="prove"),
    path("account/sign-in/", second_factor.how_i_sign_in, name="how-i-sign-in"),
    path("account/sign-in/password/", second_factor.my_password, name="my-password"),
    path("account/sign-in/add/", second_factor.enroll, name="enroll"),
    path(
        "account/sign-in/add/app/begin/",
        second_factor.enroll_app_begin,
        name="enroll-app-begin",
    ),
    path("account/sign-in/add/app/", second_factor.enroll_app, name="enroll-app"),
    path(
        "account/sign-in/add/passkey/questions/",
        second_factor.enroll_questions,
        name="enroll-passkey-questions",
    ),
    path(
        "account/sign-in/add/passkey/",
        second_factor.enroll_passkey,
        name="enroll-passkey",
    ),
    path(
        "account/sign-in/recovery-codes/new/",
        second_factor.recovery_codes_new,
        name="recovery-codes-new",
    ),
    path("account/sign-in/app/remove/", second_factor.app_remove, name="app-remove"),
    path(
        "account/sign-in/passkeys/<int:pk>/remove/",
        second_factor.passkey_remove,
        name="passkey-remove",
    ),
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
        "settings/accounts/<int:pk>/second-factor/remove/",
        second_factor.factors_of_account_remove,
        name="user-second-factor-remove",
    ),
    path("settings/accounts/<int:pk>/block/", switches.user_block, name="user-block"),
    path(
        "settings/accounts/of-person/<str:tenant_id>/<str:object_id>/block/",
        switches.person_block,
        name="person-block",
    ),
    path("settings/blocks/<int:pk>/lift/", switches.block_lift, name="block-lift"),
    path("settings/single-sign-on/", switches.single_sign_on, name="single-sign-on"),
    path(
        "settings/single-sign-on/<str:which>/stop/",
        switches.entra_stop,
        name="entra-stop",
    ),
    path(
        "settings/single-sign-on/<str:which>/allow/",
        switches.entra_allow,
        name="entra-allow",
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
