"""Which privileges an account holds, where, and by which path."""

from typing import TYPE_CHECKING, Any

from jamfidp.access import SiteAccess

if TYPE_CHECKING:
    from jamfidp.accounts.models import User


def has_perm(user: "User", perm: str, obj: Any = None) -> bool:
    return user.is_active and user.access_level == "FULL"


def has_module_perms(user: "User", app_label: str) -> bool:
    return has_perm(user, app_label)


def sites_with(user: "User", perm: str) -> SiteAccess:
    return SiteAccess(everywhere=has_perm(user, perm))
