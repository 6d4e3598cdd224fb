"""Field validators: the pure parsers' errors as Django's."""

import re

from django.core.exceptions import ValidationError

from storms.matchers import MatcherError, check_pattern, parse_matchers

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def validate_matchers(value: str) -> None:
    try:
        parse_matchers(value)
    except MatcherError as error:
        raise ValidationError(str(error), code="matchers") from error


def validate_group_by(value: list[str]) -> None:
    for name in value:
        if not _LABEL_NAME.fullmatch(name):
            raise ValidationError(f"{name!r} is no label name (letters, digits, '_')", code="group_by")
    if len(set(value)) != len(value):
        raise ValidationError("a label is named twice", code="group_by")
    if len(value) > 10:
        raise ValidationError("10 labels at most", code="group_by")


def validate_pattern(value: str) -> None:
    try:
        check_pattern(value)
    except MatcherError as error:
        raise ValidationError(str(error), code="pattern") from error
