"""Deploy what `make package` packed to a local emulator of AWS, run a command against it, and stop the emulator.

The two stages, dev and staging, are deployed by `make changes` and `make deploy` as the pipeline does it. Nothing
of the template is changed but the defaults of its parameters, and nothing reaches AWS: the emulator listens on a
free loopback port, and the user's own AWS configuration is hidden from every process started here.
The command, or without one a person at the terminal until Ctrl-C, finds in its environment

- `METERSTONE_API_URL`: the deployed stage; the endpoints' paths follow it,
- `TABLE_NAME` and `AWS_ENDPOINT_URL_DYNAMODB`: the deployed table,
- `METERSTONE_SECOND_API_URL` and `METERSTONE_SECOND_TABLE_NAME`: the same of the second stage. In one account and
  region, a development stack stands beside a production stack in this way,
- `URL` and `KEY`: the second stage again, and a key of the organization of `tests/deploy/catalogue`, as
  `make test-deployed` takes them,
- credentials and a region that the emulator takes.

Runs in the engine's environment. The exit status is the command's.
"""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import yaml

from package import ARCHIVE, pack, write_sums

ROOT = Path(__file__).resolve().parent.parent
# The command line's code is not installed in the engine's environment, in which this runs.
sys.path.insert(0, str(ROOT / "cli"))

from meterstone_cli.devserver import engine  # noqa: E402 - found there

PACKAGE = ROOT / "dist"
ENGINE = ROOT / ".venvs" / "engine"
SAM = ROOT / ".venvs" / "sam" / "bin" / "sam"
PYTHON = ROOT / ".venv" / "bin" / "python"
STAGES = ("dev", "staging")
#: What this emulator lacks is off: CodeDeploy, WAF's associations, budgets, snapshots. Alarms are made.
LOCALLY = {
    "Environment": "development",
    "Start": "none",
    "Tracing": "off",
    "TrafficShifting": "false",
    "AlarmEmail": "alarms@example.com",
}
EXPORTED = (
    *("METERSTONE_API_URL", "TABLE_NAME", "AWS_ENDPOINT_URL_DYNAMODB"),
    *("METERSTONE_SECOND_API_URL", "METERSTONE_SECOND_TABLE_NAME", "URL", "KEY"),
)
REGION = "us-east-1"
#: It takes the code, as the bootstrap's bucket does for the pipeline.
BUCKET = "meterstone-artefacts"


def main(command: list[str]) -> int:
    """Deploy, run `command`, and answer with its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if lacking := missing():
        return _fail(lacking)
    with tempfile.TemporaryDirectory(prefix="meterstone-") as folder:
        log = Path(folder) / "engine.log"
        try:
            with emulator(Path(folder)) as endpoint:
                enter(environment(endpoint) | {"ARTIFACT_BUCKET": BUCKET})
                boto3.client("s3").create_bucket(Bucket=BUCKET)
                (url, table), (second_url, second_table) = (
                    deployed(stage, endpoint, Path(folder)) for stage in STAGES
                )
                os.environ.update(
                    METERSTONE_API_URL=url,
                    TABLE_NAME=table,
                    METERSTONE_SECOND_API_URL=second_url,
                    METERSTONE_SECOND_TABLE_NAME=second_table,
                    URL=second_url,
                    KEY=_key(second_table),
                )
                return _run(command)
        except (engine.EngineError, subprocess.CalledProcessError) as error:
            if log.exists():
                sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
            return _fail(str(error))
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


def missing() -> str:
    """Say what must be made first; empty if all is there."""
    for needed, target in (
        (PACKAGE / "SHA256SUMS", "package"),
        (ENGINE / "bin" / "ministack", ".venvs/engine/.installed"),
        (SAM, ".venvs/sam/.installed"),
    ):
        if not needed.exists():
            return f"{needed.relative_to(ROOT)} is missing: run `make {target}` first"
    return ""


def _fail(message: str) -> int:
    print(f"deploy_local: {message}", file=sys.stderr)
    return 1


def environment(endpoint: str) -> dict[str, str]:
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
def emulator(folder: Path) -> Iterator[str]:
    """Run the emulator on a free loopback port; yields its address once it answers."""
    port = engine.free_port()
    variables = environment(engine.url_of(port)) | {
        # What it unpacks for its functions goes with the log.
        "TMPDIR": str(folder),
    }
    variables.pop("PYTHONPATH", None)
    with engine.running(ENGINE, folder, port, keep=False, variables=variables) as endpoint:
        yield endpoint


def enter(variables: dict[str, str]) -> None:
    """Replace the environment of this process, and of all that it starts."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def deployed(stage: str, endpoint: str, folder: Path, **others: str) -> tuple[str, str]:
    """Deploy the package to a stage, with ``others`` beside the parameters that the emulator needs.

    Return the address of the stage and the name of its table. ``folder`` takes what is packed for it.
    """
    configured = _settings(stage)["deploy"]["parameters"]["parameter_overrides"]
    architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    parameters = LOCALLY | {"Architecture": architecture, "DynamoEndpoint": endpoint} | others
    package = _with_defaults(
        dict(pair.split("=", 1) for pair in configured.split()) | parameters,
        Path(tempfile.mkdtemp(prefix=f"package-{stage}-", dir=folder)),
    )
    given = " ".join(f"{name}={value}" for name, value in parameters.items())
    for target in ("changes", "deploy"):
        _make(target, STAGE=stage, PACKAGE=str(package), PARAMETERS=given)
    stack = stack_of(stage)
    outputs = _stack_outputs(stack)
    _complete_api(stack, outputs["ApiId"], stage)
    # By its path, as `*.localhost` does not resolve everywhere.
    url = f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/{stage}"
    print(f"==> deployed {stack}: {url}", flush=True)
    return url, outputs["TableName"]


def stack_of(stage: str) -> str:
    """Return the name of a stage's stack."""
    name: str = _settings(stage)["global"]["parameters"]["stack_name"]
    return name


def _settings(stage: str) -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())[stage]
    return settings


def _make(target: str, **variables: str) -> None:
    """Run a target of the Makefile, with variables in its environment. Raises `CalledProcessError`."""
    # What the surrounding make was told is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(  # noqa: S603
        ("make", target),  # noqa: S607
        cwd=ROOT,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        check=True,
    )


def _with_defaults(values: dict[str, str], package: Path) -> Path:
    """Write the package with values for its template's parameters into a folder. Return the folder.

    The values are the parameters' defaults, as this emulator expands a template by these alone.
    """
    with tarfile.open(PACKAGE / ARCHIVE) as built:
        built.extractall(package / "built", filter="data")
    file = package / "built" / "template.yaml"
    template = yaml.safe_load(file.read_text())
    for name, value in values.items():
        template["Parameters"][name]["Default"] = value
    # `sam deploy` reads JSON, too, which is YAML.
    file.write_text(json.dumps(template))
    pack(package / "built", package / ARCHIVE)
    write_sums(package, (ARCHIVE,))
    return package


def _key(table: str) -> str:
    """Load the organization of the deployment's tests into a table. Return a key of it."""
    catalogue = ROOT / "tests" / "deploy" / "catalogue"
    organization = yaml.safe_load((catalogue / "organization.yaml").read_text())["id"]
    _meterstone(table, "load", str(catalogue))
    told = _meterstone(table, "keys", "create", "--organization", organization, "--name", "deployment tests")
    return next(word for word in told.split() if word.startswith("mst_"))


def _meterstone(table: str, *arguments: str) -> str:
    code = os.environ | {"PYTHONPATH": f"{ROOT / 'cli'}:{ROOT / 'layers/meterstone'}"}
    return subprocess.run(  # noqa: S603
        (PYTHON, "-m", "meterstone_cli", *arguments, "--table", table),
        env=code,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _stack_outputs(stack: str) -> dict[str, str]:
    (described,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def _complete_api(stack: str, api: str, stage: str) -> None:
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
    made = boto3.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in made}
    for path, methods in definition["paths"].items():
        if any_method := methods.get("x-amazon-apigateway-any-method"):
            place = {"restApiId": api, "resourceId": ids[path], "httpMethod": "ANY"}
            integration = any_method["x-amazon-apigateway-integration"]
            gateway.put_method(**place, authorizationType="NONE")
            gateway.put_integration(
                **place,
                type="AWS_PROXY",
                integrationHttpMethod=integration["httpMethod"],
                uri=_resolved(integration["uri"]["Fn::Sub"], names),
            )
    gateway.create_deployment(restApiId=api, stageName=stage)


def _resolved(text: str, names: dict[str, str]) -> str:
    """Put the region and the names of what was made into a text of `Fn::Sub`. Raises `KeyError`."""
    known = names | {"AWS::Partition": "aws", "AWS::Region": REGION}
    return re.sub(r"\$\{([^}]+)\}", lambda name: known[name[1]], text)


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
