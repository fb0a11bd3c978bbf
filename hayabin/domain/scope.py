"""The rights that there are: what an API key may be given, and what roles are made of."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    CONTACTS_READ = "contacts:read"
    CONTACTS_READ_PERSONAL = "contacts:read_personal"
    """Addresses, names and attributes flagged as personal; masked without it."""
    CONTACTS_EXPORT = "contacts:export"
    CONTACTS_WRITE = "contacts:write"
    CONTACTS_ERASE = "contacts:erase"
    CONSENTS_READ = "consents:read"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    CAMPAIGNS_APPROVE = "campaigns:approve"
    CAMPAIGNS_SEND = "campaigns:send"
    CAMPAIGNS_OVERRIDE = "campaigns:override"
    """Launch against a finding of the legal checks."""
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    DOMAINS_READ = "domains:read"
    DOMAINS_WRITE = "domains:write"
    AUDIT_READ = "audit:read"
    TENANT_ADMIN = "tenant:admin"
    """Users, keys, quotas and the tenant's settings."""
    PLATFORM_ADMIN = "platform:admin"


OF_TENANT = frozenset(Scope) - {Scope.PLATFORM_ADMIN}
"""All that a tenant can give; what concerns all tenants is the operator's."""
EVERY_SCOPE = frozenset(scope.value for scope in Scope)
