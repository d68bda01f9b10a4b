from django.urls import path

from jamfidp.accounts.views import my_privileges, sign_in

app_name = "accounts"
urlpatterns = [
    path("login/", sign_in.login_page, name="login"),
    path("logout/", sign_in.logout_page, name="logout"),
    path("setup/", sign_in.setup, name="setup"),
    path("login/entra/", sign_in.entra_start, name="entra-start"),
    path("login/entra/callback/", sign_in.entra_callback, name="entra-callback"),
    path("login/entra/refused/", sign_in.entra_refused, name="entra-refused"),
    path("account/privileges/", my_privileges.my_privileges, name="my-privileges"),
]
