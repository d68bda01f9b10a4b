"""The parts of directory pages that tell of console privileges."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from directory.dependents import ObjectRef
from jamfidp.access import signed_in
from jamfidp.accounts import presentation, standing, switches
from jamfidp.accounts.models import DirectoryBinding, User
from jamfidp.htmx import ConsoleRequest


@signed_in("part of a page; without Read Accounts it says so and shows nothing")
def directory_user(
    request: ConsoleRequest, tenant_id: str, object_id: str
) -> HttpResponse:
    """What a person of Entra holds here, with or without an account."""
    context: dict[str, object] = {"may_see": False}
    account = User.objects.filter(tenant_id=tenant_id, object_id=object_id).first()
    access = request.user.sites_with("accounts.view_user")
    # Without an account a person belongs to no site.
    if access.may_see(account.site_id if account else None):
        now, ref = timezone.now(), ObjectRef(tenant_id, object_id)
        held = (
            standing.read(account, now=now)
            if account
            else standing.of_person(ref, now=now)
        )
        context = {
            "may_see": True,
            "account": account,
            "held": presentation.held(held, request.user),
            "ref": ref,
            "may_block": request.user.sites_with("accounts.change_user").everywhere
            and switches.block_of_person(ref) is None
            and account != request.user,
        }
    return render(request, "accounts/_directory_user.html", context)


@signed_in("part of a page; without Read Account Groups it says so and shows nothing")
def directory_group(
    request: ConsoleRequest, tenant_id: str, object_id: str
) -> HttpResponse:
    """Which account groups have the members of a directory group as members."""
    access = request.user.sites_with("accounts.view_accountgroup")
    bindings = DirectoryBinding.objects.filter(
        tenant_id=tenant_id, object_id=object_id
    ).select_related("account_group__site")
    return render(
        request,
        "accounts/_directory_group.html",
        {
            "may_see": access.everywhere or bool(access.site_ids),
            "bindings": [
                (
                    binding,
                    presentation.summary(
                        binding.account_group.privilege_set,
                        standing.group_facts(binding.account_group).names,
                    ),
                )
                for binding in bindings
                if access.may_see(binding.account_group.site_id)
            ],
        },
    )
