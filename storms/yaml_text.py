"""YAML as Kubernetes' tools write it (pure)."""

from typing import Any

import yaml

# libyaml's is ten times as fast, which half a megabyte needs; the wheel has it, a build from source may not.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_text(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
