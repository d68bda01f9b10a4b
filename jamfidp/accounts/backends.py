"""Django's authentication backend: who a local account is.

Privileges are answered by `jamfidp.accounts.grants` through the user model itself.
"""

from typing import Any

from django.contrib.auth.backends import BaseBackend

from jamfidp.accounts.models import User


class ConsoleBackend(BaseBackend):
    def get_user(self, user_id: Any) -> User | None:
        return User.objects.filter(pk=user_id, is_active=True).first()
