"""The sandbox with as many tenants as are asked for: `… tenants 20 --port=0 …`.

The further ones are Quarrel & Sons again under other ids and domains; people and groups
have the same object ids in all of them, as binding by tenant and object allows.
"""

import os
import sys
from dataclasses import replace
from uuid import NAMESPACE_DNS, uuid5

from django.core.management import execute_from_command_line

from directory.sandbox import company


def more(number: int) -> company.Company:
    domain = f"quarrel{number}.example"
    return replace(
        company.QUARREL,
        tenant_id=str(uuid5(NAMESPACE_DNS, domain)),
        domain=domain,
        initial_domain=f"quarrel{number}.onmicrosoft.example",
        display_name=f"Quarrel & Sons {number}",
    )


if __name__ == "__main__":
    count, *options = sys.argv[1:]
    # Before anything else of the sandbox is imported.
    company.COMPANIES = (
        company.FERNHILL,
        company.QUARREL,
        *map(more, range(3, int(count) + 1)),
    )
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jamfidp.settings")
    execute_from_command_line(["manage.py", "entra_sandbox", *options])
