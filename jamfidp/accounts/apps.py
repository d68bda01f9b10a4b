from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "jamfidp.accounts"
    label = "accounts"
    verbose_name = "User accounts and groups"

    def ready(self) -> None:
        from directory.dependents import register
        from jamfidp.accounts import checks  # noqa: F401 - registers itself
        from jamfidp.accounts.dependents import AccountsDependents

        register(AccountsDependents())
