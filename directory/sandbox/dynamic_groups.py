"""Dynamic groups: whoever meets the rule is a member, and nobody else."""

from collections.abc import Iterable

from directory.sandbox import rules
from directory.sandbox.directory_object import Kind
from directory.sandbox.tenant import Tenant


def refresh(tenant: Tenant, users: Iterable[int]) -> None:
    """Let present users into the groups whose rule they meet, and out of the others."""
    ruled = [(group, rules.parse(rule)) for group, rule in tenant.ruled.items()]
    for number in users:
        user = tenant.object(number)
        if user is None or user.deleted_at or user.kind is not Kind.USER:
            continue
        for group, rule in ruled:
            inside, wanted = tenant.is_member(group, number), rule(user.properties)
            if wanted and not inside:
                tenant.link(group, number)
            elif inside and not wanted:
                tenant.unlink(group, number)
