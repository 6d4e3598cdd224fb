"""Single sign-on against a real provider: who gets in, in which role, and which answers are not believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from stormconsole import checks, env
from stormconsole.accounts import provider as provider_module
from stormconsole.models import Identity
from storms.models import AuditEntry
from tests.factories import make_user
from tests.harness.oidc import CLIENT_ID, CLIENT_SECRET, Provider, new_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    """A provider, and the console configured for it: group `oncall` is operators, nobody else gets in."""
    with Provider() as running:
        settings.OIDC_ISSUER = running.issuer
        settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        settings.OIDC_ROLES = [("oncall", "operator"), ("platform", "administrator")]
        settings.AUTHENTICATION_BACKENDS = [
            *settings.AUTHENTICATION_BACKENDS,
            "stormconsole.accounts.single_sign_on.Backend",
        ]
        running.person["groups"] = ["oncall", "everybody"]
        provider_module._known.clear()
        yield running


def sign_on(client: Client, provider: Provider, path: str = "/") -> Any:
    """All the way through the provider and back; the answer to the callback."""
    begun = client.get(reverse("single-sign-on"), {"next": path})
    assert begun.status_code == 302, begun.content
    return client.get(provider.log_in(begun["Location"]).removeprefix("http://testserver"))


def refusal(client: Client, answer: Any) -> str:
    """What the login page says after an answer that let nobody in."""
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert "_auth_user_id" not in client.session
    return client.get("/login/").content.decode()


def test_the_login_page_offers_it(client: Client, provider: Provider, settings: Any) -> None:
    settings.OIDC_NAME = "Example ID"
    seen = client.get("/login/?next=/alerts/").content.decode()
    assert "Log in with Example ID" in seen
    assert 'href="/login/sso/?next=/alerts/"' in seen


def test_without_it_there_is_no_trace_of_it(client: Client) -> None:
    assert "/login/sso/" not in client.get("/login/").content.decode()
    assert client.get("/login/sso/").status_code == 404
    assert client.get("/login/sso/callback/?code=1&state=2").status_code == 404


def test_somebody_new_gets_an_account_in_the_role_of_the_group(client: Client, provider: Provider) -> None:
    answer = sign_on(client, provider, "/alerts/7/")
    assert (answer.status_code, answer["Location"]) == (302, "/alerts/7/")
    user = User.objects.get()
    assert (user.username, user.email, user.has_usable_password()) == ("grace", "grace@example.com", False)
    assert [group.name for group in user.groups.all()] == ["operator"]
    assert client.get("/").status_code == 200
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["access.created", "access.edited", "login"]


def test_the_next_time_it_is_the_same_account_whatever_its_name_is_by_then(client: Client, provider: Provider) -> None:
    sign_on(client, provider)
    provider.person |= {"preferred_username": "grace.hopper", "email": "hopper@example.com", "groups": ["platform"]}
    sign_on(Client(), provider)
    user = User.objects.get()
    assert user.username == "grace"
    assert [group.name for group in user.groups.all()] == ["administrator"]
    assert user.has_perm("auth.add_user")


def test_who_left_the_group_is_out(client: Client, provider: Provider) -> None:
    sign_on(client, provider)
    provider.person["groups"] = ["everybody"]
    other = Client()
    assert "Your account has no role in this console" in refusal(other, sign_on(other, provider))


def test_a_default_role_lets_everybody_in(client: Client, provider: Provider, settings: Any) -> None:
    settings.OIDC_DEFAULT_ROLE = "viewer"
    provider.person["groups"] = []
    sign_on(client, provider)
    assert [group.name for group in User.objects.get().groups.all()] == ["viewer"]


def test_nobody_becomes_a_local_account_by_choosing_its_name(client: Client, provider: Provider) -> None:
    User.objects.create_superuser("Grace", email="grace@example.com")
    seen = refusal(client, sign_on(client, provider))
    assert "There is another account of the name grace here" in seen
    assert not Identity.objects.exists()


def test_an_account_that_was_switched_off_stays_off(client: Client, provider: Provider) -> None:
    sign_on(client, provider)
    User.objects.update(is_active=False)
    other = Client()
    assert "was switched off" in refusal(other, sign_on(other, provider))


def test_it_has_no_password_to_guess_or_to_change(client: Client, provider: Provider) -> None:
    sign_on(client, provider)
    assert client.get(reverse("password")).status_code == 403
    assert Client().post(reverse("login"), {"username": "grace", "password": "x"}).status_code == 200


# --- what is not believed


def expired(claims: dict[str, Any]) -> None:
    claims["exp"] = claims["iat"] - 1


def set_claim(**changes: Any) -> Any:
    return lambda claims: claims.update(changes)


def without(name: str) -> Any:
    return lambda claims: claims.pop(name)


@pytest.mark.parametrize("lie", [
    pytest.param(expired, id="expired"),
    pytest.param(without("exp"), id="never expires"),
    pytest.param(set_claim(aud="another-app"), id="for another application"),
    pytest.param(set_claim(aud=[CLIENT_ID, "another-app"], azp="another-app"), id="issued to another application"),
    pytest.param(set_claim(iss="https://evil.example"), id="of another issuer"),
    pytest.param(set_claim(nonce="replayed"), id="of another login"),
    pytest.param(without("sub"), id="of nobody"),
])  # fmt: skip
def test_a_token_is_not_believed_that_is(lie: Any, client: Client, provider: Provider) -> None:
    provider.lie = lie
    assert "answer was not accepted" in refusal(client, sign_on(client, provider))
    assert not User.objects.exists()


def test_a_token_signed_by_somebody_else_is_not_believed(client: Client, provider: Provider) -> None:
    provider.sign_with = new_key()
    assert "answer was not accepted" in refusal(client, sign_on(client, provider))


def test_details_of_somebody_else_are_not_believed(client: Client, provider: Provider) -> None:
    provider.userinfo = {"sub": "1", "groups": ["platform"]}
    assert "answer was not accepted" in refusal(client, sign_on(client, provider))


def test_a_login_that_this_browser_did_not_begin_is_refused(client: Client, provider: Provider) -> None:
    begun = client.get(reverse("single-sign-on"))
    back = provider.log_in(begun["Location"]).removeprefix("http://testserver")
    victim = Client()
    victim.get(reverse("single-sign-on"))
    assert "begin again" in refusal(victim, victim.get(back))


def test_a_code_is_taken_once(client: Client, provider: Provider) -> None:
    begun = client.get(reverse("single-sign-on"))
    back = provider.log_in(begun["Location"]).removeprefix("http://testserver")
    assert client.get(back)["Location"] == "/"
    client.post(reverse("logout"))
    assert "begin again" in refusal(client, client.get(back))


def test_a_wrong_client_secret_lets_nobody_in(client: Client, provider: Provider, settings: Any) -> None:
    settings.OIDC_RP_CLIENT_SECRET = "wrong"
    assert "answer was not accepted" in refusal(client, sign_on(client, provider))


def test_it_leads_to_no_other_site(client: Client, provider: Provider) -> None:
    assert sign_on(client, provider, "https://evil.example/")["Location"] == "/"


# --- when the provider is away


def test_a_provider_that_is_away_leaves_the_password(client: Client, provider: Provider) -> None:
    provider.down = True
    assert "does not answer" in refusal(client, client.get(reverse("single-sign-on")))


def test_who_is_logged_in_stays_so_while_the_provider_is_away(client: Client, provider: Provider) -> None:
    sign_on(client, provider)
    provider.down = True
    provider_module._known.clear()
    provider.asked.clear()
    assert client.get("/").status_code == 200
    assert provider.asked == []


def test_the_provider_s_document_is_read_once_an_hour(client: Client, provider: Provider) -> None:
    for _ in range(3):
        client.get(reverse("single-sign-on"))
    assert provider.asked == ["/.well-known/openid-configuration"]


def test_a_document_of_another_issuer_is_refused(client: Client, provider: Provider) -> None:
    provider.issuer = "https://evil.example"
    assert "does not answer" in refusal(client, client.get(reverse("single-sign-on")))


# --- half a configuration


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, []),
        ({"OIDC_RP_CLIENT_SECRET": ""}, ["stormconsole.E002"]),
        ({"OIDC_ISSUER": ""}, ["stormconsole.E002"]),
        ({"OIDC_ISSUER": "", "OIDC_RP_CLIENT_ID": "", "OIDC_RP_CLIENT_SECRET": ""}, []),
        ({"OIDC_ISSUER": "http://id.example.com"}, ["stormconsole.E003"]),
        ({"OIDC_ISSUER": "http://127.0.0.1:5556/dex"}, []),
        ({"OIDC_ROLES": [("oncall", "king")]}, ["stormconsole.E004"]),
        ({"OIDC_DEFAULT_ROLE": "king"}, ["stormconsole.E004"]),
        ({"OIDC_ROLES": [], "OIDC_DEFAULT_ROLE": ""}, ["stormconsole.W001"]),
        ({"OIDC_ROLES": [], "OIDC_DEFAULT_ROLE": "viewer"}, []),
    ],
)
def test_half_a_configuration_is_a_finding(changes: dict[str, Any], ids: list[str], settings: Any) -> None:
    whole = {
        "OIDC_ISSUER": "https://id.example.com",
        "OIDC_RP_CLIENT_ID": CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_ROLES": [("oncall", "operator")],
    }
    for name, value in (whole | changes).items():
        setattr(settings, name, value)
    assert [finding.id for finding in checks.single_sign_on_is_whole()] == ids


def test_roles_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_ROLES", "cn=oncall=operator, platform = administrator")
    assert env.pairs("OIDC_ROLES") == [("cn=oncall", "operator"), ("platform", "administrator")]
    monkeypatch.setenv("OIDC_ROLES", "oncall")
    with pytest.raises(ImproperlyConfigured, match="OIDC_ROLES: expected left=right"):
        env.pairs("OIDC_ROLES")


def test_a_local_account_still_logs_in(client: Client, provider: Provider) -> None:
    user = make_user("ada")
    user.set_password("correct horse")
    user.save()
    answer = client.post(reverse("login"), {"username": "ada", "password": "correct horse"})
    assert answer.status_code == 302
