"""A person as the provider's claims describe them, and the principal that their groups make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.access.keys.principal import LOCAL_TENANT, ROLE_SCOPES, Principal
from app.platform.errors import ServiceError
from app.platform.settings import Settings
from app.platform.sign_in_settings import Role
from app.platform.text import storable

MAX_SUBJECT_CHARACTERS = 255
"""As OpenID Connect bounds it."""
MAX_NAME_CHARACTERS = 128
MAX_GROUPS = 5000
SHOWN_GROUPS = 20
WIDTHS: Sequence[Role] = ("reader", "writer", "admin")
NAMES = ("preferred_username", "name", "email", "sub")
"""Claims that a person is called by, the best first."""


class NotUsable(ValueError):
    """Claims that name nobody; the text says which."""


@dataclass(frozen=True)
class Person:
    """Who somebody is for the provider."""

    subject: str
    name: str
    groups: tuple[str, ...]


def person_of(claims: Mapping[str, Any], groups_claim: str) -> Person:
    """Who they are by these claims. Raises NotUsable."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not _plain(subject):
        raise NotUsable("the claim sub is no subject")
    texts = [claims[name] for name in NAMES if isinstance(claims.get(name), str)]
    names = [" ".join(text.split())[:MAX_NAME_CHARACTERS] for text in texts if _plain(" ".join(text.split()))]
    return Person(subject, next(name for name in [*names, subject] if name), groups_of(claims, groups_claim))


def groups_of(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """The groups in a claim, or in an object that its dots lead to; none where there is no such claim."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        return ()
    return tuple(
        sorted({group for group in found if isinstance(group, str) and storable(group)})[:MAX_GROUPS]
    )


def _plain(text: str) -> bool:
    return text.isprintable() and storable(text)


def principal_of(
    person: Person, settings: Settings, *, credential: str, must_choose: bool = False
) -> Principal:
    """The person as their groups make them. `must_choose`: whether one of several tenants has to be named.

    Raises ServiceError 403 `no_role` where no group of theirs allows anything.
    """
    rules = [rule for rule in settings.oidc_roles if rule.group in person.groups]
    if any(rule.role == "operator" for rule in rules):
        return Principal(
            LOCAL_TENANT,
            ROLE_SCOPES["operator"],
            name=person.name,
            operator=True,
            person=person.subject,
            credential=credential,
        )
    roles: dict[str, Role] = {}
    for rule in sorted(rules, key=lambda rule: WIDTHS.index(rule.role)):
        if rule.tenant is not None:
            roles[rule.tenant] = rule.role  # the widest is the last
    if not roles:
        raise no_role(person, settings.oidc_groups_claim)
    first = min(roles)
    return Principal(
        first,
        ROLE_SCOPES[roles[first]],
        name=person.name,
        person=person.subject,
        roles=tuple(sorted(roles.items())),
        must_choose=must_choose and len(roles) > 1,
        named_tenant=len(roles) > 1,
        credential=credential,
    )


def no_role(person: Person, claim: str) -> ServiceError:
    """The answer to somebody whom the provider knows, and who may do nothing here."""
    shown = ", ".join(person.groups[:SHOWN_GROUPS])
    groups = (
        f"Your groups are: {shown}" if shown else f"The provider names no groups of yours (claim {claim})"
    )
    return ServiceError(
        403,
        "no_role",
        f"You are known to the sign-in provider as {person.name}, but none of your groups has a role here. "
        f"{groups}. Ask the operator of this service which group has the role that you need "
        "(DFAD_OIDC_ROLES), and whoever manages groups at the provider to put you into it.",
    )
