"""What Microsoft's sign-in service says of tenants in other clouds than its own.

https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
"""

from typing import NamedTuple


class OtherCloud(NamedTuple):
    """What a discovery document holds for a tenant of this cloud."""

    login_host: str
    graph_host: str
    instance_name: str
    region_scope: str
    region_sub_scope: str | None


OTHER_CLOUDS = {
    "GCC_HIGH": OtherCloud(
        "login.microsoftonline.us",
        "graph.microsoft.us",
        "microsoftonline.us",
        "USGov",
        "DODCON",
    ),
    "DOD": OtherCloud(
        "login.microsoftonline.us",
        "dod-graph.microsoft.us",
        "microsoftonline.us",
        "USGov",
        "DOD",
    ),
    "CHINA": OtherCloud(
        "login.partner.microsoftonline.cn",
        "microsoftgraph.chinacloudapi.cn",
        "partner.microsoftonline.cn",
        "AS",
        None,
    ),
}
