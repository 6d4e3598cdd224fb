"""Accounts and their roles: the only writers."""

import secrets
from collections.abc import Iterable
from typing import Any

from django.apps import apps as installed_apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from stormconsole.accounts.roles import ADMINISTERED, ADMINISTRATOR, ROLES, granted
from stormconsole.models import Identity
from storms.choices import AuditAction
from storms.services import audit


class AccountError(Exception):
    """An account may not be used or made; the text is for its person."""


def grant_roles(*, using: str = "default") -> None:
    """Make the four groups and give each exactly what its role may do. Safe to repeat."""
    for app in ADMINISTERED:
        # Django makes them after `migrate`, app by app, perhaps later than this is called.
        create_permissions(installed_apps.get_app_config(app), verbosity=0, using=using)
    for role in ROLES:
        group, _ = Group.objects.using(using).get_or_create(name=role)
        group.permissions.set(Permission.objects.using(using).filter(_permissions_of(role)))


def _permissions_of(role: str) -> Q:
    if role == ADMINISTRATOR:
        return Q(content_type__app_label__in=ADMINISTERED)
    pairs = (name.split(".") for name in granted(role))
    return Q(*(Q(content_type__app_label=app, codename=codename) for app, codename in pairs), _connector=Q.OR)


@transaction.atomic
def create_user(*, username: str, role: str, email: str = "", password: str | None = None, actor: str = "") -> str:
    """A new account in one role; returns its password, which is made up unless given.

    Raises: ValidationError, the name or the password will not do, or the name is taken.
    """
    password = password or secrets.token_urlsafe(12)
    user = User(username=User.normalize_username(username), email=User.objects.normalize_email(email))
    validate_password(password, user)
    user.set_password(password)
    user.full_clean()
    user.save()
    set_roles(user=user, names=[role])
    audit.record(action=AuditAction.ACCESS_CREATED, actor=actor, target=user, after={"groups": [role]})
    return password


def set_roles(*, user: User, names: Iterable[str]) -> None:
    """Of the four groups the user is in these from now on; other groups stay. Raises: ValidationError, no such role."""
    wanted = set(names)
    groups = {group.name: group for group in Group.objects.filter(name__in=ROLES)}
    if unknown := wanted - set(groups):
        raise ValidationError(f"There is no role {', '.join(sorted(unknown))}: choose from {', '.join(ROLES)}.")
    user.groups.remove(*(group for name, group in groups.items() if name not in wanted))
    user.groups.add(*(groups[name] for name in wanted))


@transaction.atomic
def user_of_identity(*, issuer: str, subject: str, username: str, email: str, roles: list[str]) -> User:
    """The account of somebody whom the issuer vouches for, made at the first time; its roles are these from now on.

    A name that a local account has is refused: whoever can choose a name over there must not become somebody here.
    Raises: AccountError.
    """
    identity = Identity.objects.select_related("user").filter(issuer=issuer, subject=subject).first()
    if identity is None:
        user = _make_vouched(username=username, email=email)
        Identity.objects.create(user=user, issuer=issuer, subject=subject)
        audit.record(action=AuditAction.ACCESS_CREATED, actor=username, target=user, detail=f"vouched for by {issuer}")
    else:
        user = identity.user
    if not user.is_active:
        raise AccountError("Your account in this console was switched off.")
    before = sorted(user.groups.values_list("name", flat=True))
    set_roles(user=user, names=roles)
    after = sorted(user.groups.values_list("name", flat=True))
    if before != after:
        changes = audit.changed({"groups": before}, {"groups": after})
        audit.record(action=AuditAction.ACCESS_EDITED, actor=username, target=user, **changes)
    return user


def _make_vouched(*, username: str, email: str) -> User:
    user = User(username=User.normalize_username(username), email=User.objects.normalize_email(email))
    user.set_unusable_password()
    if User.objects.filter(username__iexact=user.username).exists():
        raise AccountError(f"There is another account of the name {username} here: ask an administrator to rename it.")
    try:
        user.full_clean()
    except ValidationError as error:
        raise AccountError(f"{username} will not do as a name here: {'; '.join(error.messages)}") from error
    user.save()
    return user


def may_enter_admin(user: User | AnonymousUser) -> bool:
    """Staff, and who may add, change or delete anything: who may only look has the console's pages."""
    if not user.is_active:
        return False
    return user.is_staff or any(".view_" not in permission for permission in user.get_all_permissions())


def after_migrate(using: str, **_: Any) -> None:
    """Receives `post_migrate`."""
    grant_roles(using=using)
