"""`manage.py explain_policy label=value ...`: which policy gets this alert, and why not the others."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from storms.matchers import MatcherError, label_pairs
from storms.policies import explain
from storms.policy_words import explanation_document


class Command(BaseCommand):
    help = "Say which policy gets an alert with these labels, and why not the others."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("labels", nargs="*", metavar="label=value")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            labels = label_pairs(options["labels"])
        except MatcherError as error:
            raise CommandError(str(error)) from error
        document = explanation_document(explain(labels))
        self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) if options["json"] else _table(document))


def _table(document: dict[str, Any]) -> str:
    policy = document["policy"]
    group = ", ".join(f"{name}={value or '(none)'}" for name, value in document["group"].items())
    lines = [
        f"{policy['name']} (version {policy['version']}) gets it: {document['reason']}",
        f"group: {group or 'all alerts of the policy'}",
        f"severity {document['severity']}, environment {document['environment']}, priority {document['priority']}",
    ]
    others = document["others"]
    if others:
        width = max(len(other["policy"]["name"]) for other in others)
        lines += ["", "Why not the others, in the order in which they are tried:"]
        lines += [f"  {other['policy']['name']:{width}}  {other['text']}" for other in others]
    return "\n".join(lines)
