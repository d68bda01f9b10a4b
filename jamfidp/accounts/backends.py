"""Django's authentication backend: who an account is, and what it may do.

Features and templates ask Django (`has_perm`, `{{ perms }}`); Django asks here.
"""

from typing import Any

from django.contrib.auth.backends import BaseBackend

from jamfidp.access import SiteAccess
from jamfidp.accounts import site_choice, standing
from jamfidp.accounts.models import User, not_blocked


class ConsoleBackend(BaseBackend):
    def get_user(self, user_id: Any) -> User | None:
        user = User.objects.filter(not_blocked(), pk=user_id, is_active=True).first()
        if user is not None:
            user.let_in = True
        return user

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        # Django asks for anonymous visitors too.
        return isinstance(user_obj, User) and standing.has_perm(user_obj, perm, obj)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return isinstance(user_obj, User) and standing.has_module_perms(
            user_obj, app_label
        )

    def sites_with(self, user_obj: Any, perm: str) -> SiteAccess:
        """Where the account holds the permission."""
        return standing.sites_with(user_obj, perm)

    def site_choices(self, user_obj: Any) -> Any:
        """The sites where the account holds something."""
        return site_choice.choices(user_obj)
