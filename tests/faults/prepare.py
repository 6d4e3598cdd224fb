"""`python -m tests.faults.prepare`: migrate, and make what a rig needs; prints {"webhook": token, "api": token}.

One process for all of it: each `manage.py` would load Django anew.
"""

import json

import django
from django.core.management import call_command

HOLD_SECONDS = {"burst": 2, "now": 0, "few": 1}
"""By the first word of the alerts' namespace: each is a policy."""
SAME = {"threshold": 10, "window_seconds": 60, "quiet_seconds": 180}


def main() -> None:
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    from django.contrib.auth import get_user_model

    from ingestion.services import create_receiver
    from storms.api_tokens import create_api_token
    from storms.models import StormPolicy
    from storms.services.policies import save_policy

    for word, hold in HOLD_SECONDS.items():
        policy = StormPolicy(name=word, matchers=f'namespace=~"{word}-.*"', hold_seconds=hold, **SAME)
        save_policy(policy=policy, actor="faults")
    _, webhook = create_receiver(name="faults", kind="alertmanager")
    _, api = create_api_token(user=get_user_model().objects.create_superuser("root"), name="faults")
    print(json.dumps({"webhook": webhook, "api": api}))


if __name__ == "__main__":
    main()
