"""Deploy what `sam build` built to a local emulator of AWS, run a command against it, and stop the emulator.

Nothing of the template is changed but the defaults of its parameters, and nothing reaches AWS: the emulator
listens on a free loopback port, and the user's own AWS configuration is hidden from every process started here.
The command, or without one a
person at the terminal until Ctrl-C, finds in its environment

- `METERSTONE_API_URL`: the deployed stage; the endpoints' paths follow it,
- `TABLE_NAME` and `AWS_ENDPOINT_URL_DYNAMODB`: the deployed table,
- `METERSTONE_SECOND_API_URL` and `METERSTONE_SECOND_TABLE_NAME`: the same of a second stack. In one account and
  region, a development stack stands beside a production stack in this way,
- credentials and a region that the emulator takes.

Runs in the engine's environment. The exit status is the command's.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import yaml

ROOT = Path(__file__).resolve().parent.parent
# The command line's code is not installed in the engine's environment, in which this runs.
sys.path.insert(0, str(ROOT / "cli"))

from meterstone_cli.devserver import engine  # noqa: E402 - found there

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
ENGINE = ROOT / ".venvs" / "engine"
SAM = ROOT / ".venvs" / "sam" / "bin" / "sam"
STACKS = ("meterstone-local", "meterstone-second")
STAGE = "local"
#: What this emulator lacks is off: CodeDeploy, WAF's associations, budgets. Alarms are made, to be tried.
LOCALLY = {"Environment": "development", "TrafficShifting": "false", "AlarmEmail": "alarms@example.com"}
EXPORTED = (
    *("METERSTONE_API_URL", "TABLE_NAME", "AWS_ENDPOINT_URL_DYNAMODB"),
    *("METERSTONE_SECOND_API_URL", "METERSTONE_SECOND_TABLE_NAME"),
)
REGION = "us-east-1"


def main(command: list[str]) -> int:
    """Deploy, run `command`, and answer with its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for needed, target in (
        (BUILT, "build"),
        (ENGINE / "bin" / "ministack", ".venvs/engine/.installed"),
        (SAM, ".venvs/sam/.installed"),
    ):
        if not needed.exists():
            return _fail(f"{needed.relative_to(ROOT)} is missing: run `make {target}` first")
    with tempfile.TemporaryDirectory(prefix="meterstone-") as folder:
        log = Path(folder) / "engine.log"
        try:
            with _emulator(Path(folder)) as endpoint:
                _enter(_environment(endpoint))
                (url, table), (second_url, second_table) = (_deployed(stack, endpoint) for stack in STACKS)
                os.environ.update(
                    METERSTONE_API_URL=url,
                    TABLE_NAME=table,
                    METERSTONE_SECOND_API_URL=second_url,
                    METERSTONE_SECOND_TABLE_NAME=second_table,
                )
                return _run(command)
        except (engine.EngineError, subprocess.CalledProcessError) as error:
            if log.exists():
                sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
            return _fail(str(error))
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


def _fail(message: str) -> int:
    print(f"deploy_local: {message}", file=sys.stderr)
    return 1


def _environment(endpoint: str) -> dict[str, str]:
    """Ours without the user's AWS settings, so that no call can leave for a real account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint,
        "SAM_CLI_TELEMETRY": "0",
    }


@contextmanager
def _emulator(folder: Path) -> Iterator[str]:
    """Run the emulator on a free loopback port; yields its address once it answers."""
    port = engine.free_port()
    variables = _environment(engine.url_of(port)) | {
        # What it unpacks for its functions goes with the log.
        "TMPDIR": str(folder),
    }
    variables.pop("PYTHONPATH", None)
    with engine.running(ENGINE, folder, port, keep=False, variables=variables) as endpoint:
        yield endpoint


def _enter(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _deployed(stack: str, endpoint: str) -> tuple[str, str]:
    """Deploy the template as `stack`. Return the address of its stage and the name of its table."""
    _deploy(stack, endpoint)
    outputs = _stack_outputs(stack)
    _complete_api(stack, outputs["ApiId"])
    # By its path, as `*.localhost` does not resolve everywhere.
    url = f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/{STAGE}"
    print(f"==> deployed {stack}: {url}", flush=True)
    return url, outputs["TableName"]


def _deploy(stack: str, endpoint: str) -> None:
    architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    template = _with_defaults(
        LOCALLY | {"Stage": STAGE, "Architecture": architecture, "DynamoEndpoint": endpoint}
    )
    subprocess.run(  # noqa: S603
        (
            *(str(SAM), "deploy", "--template-file", str(template), "--stack-name", stack, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
        ),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        check=True,
    )


def _with_defaults(values: dict[str, str]) -> Path:
    """Write the built template with values for its parameters. Return the file, which lies beside it.

    The values are the parameters' defaults, as this emulator expands a template by these alone.
    """
    template = yaml.safe_load(BUILT.read_text())
    for name, value in values.items():
        template["Parameters"][name]["Default"] = value
    # `sam deploy` reads JSON, too, which is YAML.
    written = BUILT.with_name("template-local.yaml")
    written.write_text(json.dumps(template))
    return written


def _stack_outputs(stack: str) -> dict[str, str]:
    (described,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def _complete_api(stack: str, api: str) -> None:
    """Apply the two parts of the API's definition that this emulator leaves out when it imports it.

    They are read from the deployed template and put in by API Gateway's own calls: the gateway responses,
    and the methods that stand for any other method.
    """
    processed = boto3.client("cloudformation").get_template(StackName=stack, TemplateStage="Processed")
    template = processed["TemplateBody"]
    resources = (json.loads(template) if isinstance(template, str) else template)["Resources"]
    definition = resources["Api"]["Properties"]["Body"]
    gateway = boto3.client("apigateway")
    for kind, response in definition["x-amazon-apigateway-gateway-responses"].items():
        gateway.put_gateway_response(
            restApiId=api,
            responseType=kind,
            statusCode=str(response["statusCode"]),
            responseParameters=response.get("responseParameters", {}),
            responseTemplates=response["responseTemplates"],
        )
    ids = {item["path"]: item["id"] for item in gateway.get_resources(restApiId=api, limit=500)["items"]}
    for path, methods in definition["paths"].items():
        if "x-amazon-apigateway-any-method" in methods:
            (named,) = methods.keys() - {"x-amazon-apigateway-any-method"}
            place = {"restApiId": api, "resourceId": ids[path]}
            known = gateway.get_integration(**place, httpMethod=named.upper())
            gateway.put_method(**place, httpMethod="ANY", authorizationType="NONE")
            gateway.put_integration(
                **place,
                httpMethod="ANY",
                type=known["type"],
                integrationHttpMethod=known["httpMethod"],
                uri=known["uri"],
            )
    gateway.create_deployment(restApiId=api, stageName=STAGE)


def _run(command: list[str]) -> int:
    if command:
        return subprocess.run(command, check=False).returncode  # noqa: S603
    for name in EXPORTED:
        print(f"export {name}={os.environ[name]}")
    print("Ctrl-C stops it.", flush=True)
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
