"""The base job template of the work pool for ECS: how Prefect's worker starts a flow run in the VPC.

It names the stack's own task definition, so that the worker needs no right to register any and what runs is what was
reviewed; only command, environment and labels come from the run.

The worker hands its own settings to each run as plain environment, its login to Prefect among them. Where the
template says that a secret holds the login, it leaves that out; the task definition has the secret.
"""

from collections.abc import Sequence
from typing import Any

from infra.aws.containers import FLOWS, family
from infra.aws.stack import STACK_TAG, Stack


def base_job_template(stack: Stack, subnets: Sequence[str], group: str, login: str | None) -> dict[str, Any]:
    """The template; `login` is the ARN of the secret with Prefect's login, if it asks for one."""
    which = "prefect_api_key_secret_arn" if stack.settings.aws.prefect_api_key else "prefect_api_auth_string_secret_arn"
    return {
        "variables": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "title": "Name"},
                "command": {"type": "string", "title": "Command"},
                "env": {"type": "object", "title": "Environment", "additionalProperties": {"type": "string"}},
                "labels": {
                    "type": "object",
                    "title": "Labels",
                    "additionalProperties": {"type": "string"},
                    "default": {STACK_TAG: stack.name},
                },
            },
        },
        "job_configuration": {
            "name": "{{ name }}",
            "command": "{{ command }}",
            "env": "{{ env }}",
            "labels": "{{ labels }}",
            "container_name": "prefect",
            **({which: login} if login else {}),
            "cluster": stack.prefix,
            "task_run_request": {
                "cluster": stack.prefix,
                "launchType": "FARGATE",
                "taskDefinition": family(stack, FLOWS),
                "propagateTags": "TASK_DEFINITION",
                "enableExecuteCommand": False,
                "networkConfiguration": {
                    "awsvpcConfiguration": {
                        "subnets": list(subnets),
                        "securityGroups": [group],
                        "assignPublicIp": "DISABLED",
                    }
                },
                "overrides": {
                    "containerOverrides": [{"name": "prefect", "command": "{{ command }}", "environment": "{{ env }}"}],
                },
                "tags": "{{ labels }}",
            },
        },
    }
