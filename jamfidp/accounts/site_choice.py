"""Looking at one site alone: the switch at the top of the console.

Chosen per session. It narrows what is shown and where new things go; it gives nothing
that the account does not hold.
"""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from jamfidp.accounts import standing
from jamfidp.accounts.models import User
from scoping.models import Site

KEY = "site"


class NotYourSite(Exception):
    """There is no such site, or the account holds nothing there."""

    def __init__(self) -> None:
        super().__init__("You hold nothing at this site, or it was deleted.")


def choices(user: User) -> Sequence[Site]:
    """The sites where the account holds something, by name."""
    held = standing.of(user).by_name.values()
    if any(access.everywhere for access in held):
        return list(Site.objects.all())
    ids = {site_id for access in held for site_id in access.site_ids}
    return list(Site.objects.filter(pk__in=ids))


def choose(session: MutableMapping[str, Any], user: User, site_id: int | None) -> None:
    """Look at one site from now on, or at all of them again. Raises NotYourSite."""
    if site_id is None:
        session.pop(KEY, None)
        return
    if site_id not in {site.pk for site in choices(user)}:
        raise NotYourSite
    session[KEY] = site_id


class ChosenSiteMiddleware:
    """Tell the account which site its session looks at."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        chosen = request.session.get(KEY)
        if chosen is not None and isinstance(request.user, User):
            # A site deleted meanwhile is no site: everything is shown again.
            request.user.chosen_site = Site.objects.filter(pk=chosen).first()
        return self.get_response(request)
