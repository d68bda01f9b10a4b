"""Microsoft Entra ID and Microsoft Graph, as a library that does not know Django.

`clouds` is data, `transport` the only way out, over `tls`, `sign_in` Microsoft's
pages, `identity` tokens, `id_token` what they prove, `graph` the directory. Nothing here
writes to Entra.
"""

from directory.entra.aadsts import callback_error, means_expired
from directory.entra.batch import LiveAnswer
from directory.entra.clouds import (
    CHINA,
    CLOUDS,
    PUBLIC,
    SANDBOX_KEY,
    US_GOV_L4,
    US_GOV_L5,
    Cloud,
    Egress,
    sandbox_cloud,
)
from directory.entra.credentials import (
    AssertionClaims,
    CertificateCredential,
    ClientSecret,
    Credential,
    FederatedAssertion,
)
from directory.entra.graph import (
    APPLICATION_PERMISSIONS,
    GraphClient,
    PermissionProbe,
)
from directory.entra.id_token import IdTokenClaims, SigningKeys, validate_id_token
from directory.entra.identity import (
    AccessToken,
    KeptTokens,
    TokenCache,
    TokenProvider,
    TokenSource,
    app_only_token,
    redeem_code,
)
from directory.entra.ids import ObjectId, TenantId, is_guid, tenant_id
from directory.entra.metadata import SignInMetadata
from directory.entra.objects import (
    Group,
    GroupsPage,
    MemberRef,
    MembersPage,
    MemberType,
    Organization,
    Removed,
    User,
    UsersPage,
    VerifiedDomain,
)
from directory.entra.sign_in import (
    Discovery,
    Prompt,
    SignInSecrets,
    admin_consent_url,
    authorization_url,
    discover,
    logout_url,
    new_sign_in_secrets,
    nonce_hash,
)
from directory.entra.tls import TlsInUse
from directory.entra.transport import (
    EntraSession,
    Exchange,
    Priority,
    TransferObserver,
    TransferStats,
)

__all__ = [
    "APPLICATION_PERMISSIONS",
    "CHINA",
    "CLOUDS",
    "PUBLIC",
    "SANDBOX_KEY",
    "US_GOV_L4",
    "US_GOV_L5",
    "AccessToken",
    "AssertionClaims",
    "CertificateCredential",
    "ClientSecret",
    "Cloud",
    "Credential",
    "Discovery",
    "Egress",
    "EntraSession",
    "Exchange",
    "FederatedAssertion",
    "GraphClient",
    "Group",
    "GroupsPage",
    "IdTokenClaims",
    "KeptTokens",
    "LiveAnswer",
    "MemberRef",
    "MemberType",
    "MembersPage",
    "ObjectId",
    "Organization",
    "PermissionProbe",
    "Priority",
    "Prompt",
    "Removed",
    "SignInMetadata",
    "SignInSecrets",
    "SigningKeys",
    "TenantId",
    "TlsInUse",
    "TokenCache",
    "TokenProvider",
    "TokenSource",
    "TransferObserver",
    "TransferStats",
    "User",
    "UsersPage",
    "VerifiedDomain",
    "admin_consent_url",
    "app_only_token",
    "authorization_url",
    "callback_error",
    "discover",
    "is_guid",
    "logout_url",
    "means_expired",
    "new_sign_in_secrets",
    "nonce_hash",
    "redeem_code",
    "sandbox_cloud",
    "tenant_id",
    "validate_id_token",
]
