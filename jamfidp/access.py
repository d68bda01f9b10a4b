"""What a view demands of the person who opens it.

Features ask for privileges through Django's `has_perm`; the accounts app answers as
authentication backend. This module knows neither. Every view carries exactly one of
the marks below; a test walks the routes and fails on a view that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from django.contrib.auth.decorators import login_not_required
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

P = ParamSpec("P")
M = TypeVar("M", bound=Model)
View = Callable[Concatenate[Any, P], HttpResponseBase]


@dataclass(frozen=True, slots=True)
class SiteAccess:
    """Where a person holds one privilege: everywhere, or at some sites."""

    everywhere: bool
    site_ids: frozenset[int] = frozenset()

    def may_see(self, site_id: int | None) -> bool:
        """An object without a site is seen only by those with access everywhere."""
        return self.everywhere or (site_id is not None and site_id in self.site_ids)


class ConsoleUser(Protocol):
    """What features may ask of the person signed in."""

    @property
    def pk(self) -> Any: ...

    @property
    def is_authenticated(self) -> Any: ...

    def has_perm(self, perm: str, obj: Any = None) -> bool: ...

    def sites_with(self, perm: str) -> SiteAccess: ...


def refuse(request: HttpRequest, *privileges: str) -> HttpResponse:
    """The page for a person who lacks a privilege: which one, and what to do."""
    name = getattr(request.user, "privilege_name", str)
    return render(
        request,
        "403.html",
        {"privileges": [name(one) for one in privileges]},
        status=403,
    )


def privilege(*privileges: str) -> Callable[[View[P]], View[P]]:
    """Demand every privilege named, at some site at least."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: Any, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            missing = [name for name in privileges if not request.user.has_perm(name)]
            if missing:
                return refuse(request, *missing)
            return view(request, *args, **kwargs)

        guarded.privilege = privileges  # type: ignore[attr-defined]
        return guarded

    return decorate


def signed_in(reason: str) -> Callable[[View[P]], View[P]]:
    """Open to every person signed in; the reason is for the reader and the test."""

    def decorate(view: View[P]) -> View[P]:
        view.signed_in = reason  # type: ignore[attr-defined]
        return view

    return decorate


def public(reason: str) -> Callable[[View[P]], View[P]]:
    """Open to everybody; the reason is for the reader and the test."""

    def decorate(view: View[P]) -> View[P]:
        view.public = reason  # type: ignore[attr-defined]
        return login_not_required(view)

    return decorate


def visible_to(queryset: QuerySet[M], user: ConsoleUser, perm: str) -> QuerySet[M]:
    """Keep the rows whose site the person may see; the model has a `site` field."""
    access = user.sites_with(perm)
    if access.everywhere:
        return queryset
    return queryset.filter(site_id__in=access.site_ids)


def get_visible_or_404(
    queryset: QuerySet[M], user: ConsoleUser, perm: str, **lookup: Any
) -> M:
    """Return the one visible row; a row of a foreign site is as absent as none."""
    row = visible_to(queryset, user, perm).filter(**lookup).first()
    if row is None:
        raise Http404
    return row
