"""What we use of custom resources, described closed: a field that is not here is an error.

The descriptions cover the fields that the chart sets, no more; they follow KEDA's ``v1alpha1`` and the Prometheus operator's
``v1`` definitions.
Fails: ``jsonschema.ValidationError`` names the field.
"""

from typing import Any

import jsonschema

Schema = dict[str, Any]
STRING: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}


def _closed(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


_LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
_METADATA = _closed({"name": STRING, "namespace": STRING, "labels": _LABELS})


def _resource(api: str, kind: str, spec: Schema) -> Schema:
    return _closed({"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": _METADATA, "spec": spec})


_TRIGGER = _closed(
    {
        "type": {"const": "rabbitmq"},
        # KEDA: every value of a trigger's metadata is a string.
        "metadata": _closed(
            {
                "protocol": {"enum": ["amqp", "http", "auto"]},
                "queueName": STRING,
                "mode": {"enum": ["QueueLength", "MessageRate"]},
                "value": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            }
        ),
        "authenticationRef": _closed({"name": STRING}),
    }
)

SCHEMAS: dict[str, Schema] = {
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _closed(
            {
                "scaleTargetRef": _closed({"name": STRING}),
                "pollingInterval": COUNT,
                "cooldownPeriod": COUNT,
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "triggers": {"type": "array", "minItems": 1, "items": _TRIGGER},
            }
        ),
    ),
    "TriggerAuthentication": _resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        _closed(
            {
                "secretTargetRef": {
                    "type": "array",
                    "minItems": 1,
                    "items": _closed({"parameter": STRING, "name": STRING, "key": STRING}),
                }
            }
        ),
    ),
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _closed(
            {
                "jobLabel": STRING,
                "podTargetLabels": {"type": "array", "items": STRING},
                "selector": _closed({"matchLabels": _LABELS}),
                "namespaceSelector": _closed({"matchNames": {"type": "array", "items": STRING}}),
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": _closed(
                        {"port": STRING, "path": STRING, "interval": {"type": "string", "pattern": "^[0-9]+s$"}}
                    ),
                },
            }
        ),
    ),
}


def check_custom_resource(item: dict[str, Any]) -> None:
    """Validate one custom resource.

    Raises:
        jsonschema.ValidationError: a field is missing, unknown or of the wrong type.
    """
    jsonschema.Draft202012Validator(SCHEMAS[item["kind"]]).validate(item)
