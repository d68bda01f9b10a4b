from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "jamfidp.accounts"
    label = "accounts"
    verbose_name = "User accounts and groups"
