"""Objects against schemas, as strictly as an API server with field validation: what the schema does not name is an error."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = ("1.29", "1.33", "1.37")  # the oldest that the chart admits, the original's, the newest known


def check(entry: dict[str, Any], versions: Sequence[str] = KUBERNETES[1:2]) -> None:
    """Raise ValidationError where the object is not what its kind's schema says."""
    if entry["kind"].lower() in {path.stem for path in SCHEMAS.glob("*.json")}:
        validator(entry["kind"]).validate(entry)
        return
    import kubernetes_validate

    for version in versions:
        kubernetes_validate.validate(entry, version, strict=True)


@functools.cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    document = json.loads((SCHEMAS / f"{kind.lower()}.json").read_text("utf-8"))
    schema = _strict(document["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": document["apiVersion"]},
        "kind": {"const": document["kind"]},
        "metadata": {"type": "object", "required": ["name", "namespace", "labels"]},
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return jsonschema.Draft7Validator(schema)


def _strict(schema: Any) -> Any:
    """No further properties; what has a default need not be there; a number where the schema allows either stays one."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(value) for key, value in schema.items()}
    properties = result.get("properties")
    if isinstance(properties, dict) and result.get("type") == "object":
        result.setdefault("additionalProperties", bool(result.get("x-kubernetes-preserve-unknown-fields")))
        if "required" in result:
            result["required"] = [name for name in result["required"] if "default" not in properties.get(name, {})]
    return result
