"""Deploy a package that `make package` made to one stage: `deploy.py PACKAGE STAGE [--changes]`.

STAGE is a section of samconfig.toml. CloudFormation's change set is printed before it is executed; a deployment
that fails is rolled back by CloudFormation. With `--changes` the change set is made and printed and nothing else:
the stack stays as it is.

The environment may say
- `DIGEST`: the package's digest, as `scripts/package.py` printed it. Another package is refused;
- `PARAMETERS`: parameters of the template, `Name=value` each, beside those of samconfig.toml and before them. What
  neither names has the template's default, and not the value of the last deployment. But a stack that was moved to
  another table stays with it;
- `ARTIFACT_BUCKET`: the bucket that takes the code. Without it, `sam deploy` makes one for the account;
- `CLOUDFORMATION_ROLE`: the role with which CloudFormation changes the stack, if not with the caller's rights.

In a GitHub workflow the stack's address and table are the step's outputs `url` and `table`.
Runs in the environment `.venvs/sam`. The exit status is that of `sam deploy`.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import yaml

ROOT = Path(__file__).resolve().parent.parent
SAM = ROOT / ".venvs" / "sam" / "bin" / "sam"
ARCHIVE = "meterstone.tar.gz"
SUMS = "SHA256SUMS"
#: Outputs of the stack, with their names in a workflow.
TOLD = {"ApiUrl": "url", "TableName": "table"}
#: Parameters without which a stack would get a new, empty table.
KEPT = {"ExistingTableName", "ExistingTableStreamArn"}


class RefusedError(Exception):
    """The package is not what was packed, or the stage is not known."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Deploy, or show what a deployment would change."""
    parser = argparse.ArgumentParser(prog="deploy", description="Deploy a package to a stage.")
    parser.add_argument("package", type=Path)
    parser.add_argument("stage")
    parser.add_argument("--changes", action="store_true", help="print the change set, and do nothing")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="meterstone-") as folder:
        try:
            settings = settings_of(asked.stage)
            check(asked.package, environment.get("DIGEST"))
            unpack(asked.package / ARCHIVE, Path(folder) / "built")
        except RefusedError as error:
            print(f"deploy: {error}", file=sys.stderr)
            return 1
        template, config = Path(folder) / "built" / "template.yaml", Path(folder) / "samconfig.toml"
        options = options_of(
            settings, environment, defaults_of(template), changes=asked.changes, asks=sys.stdin.isatty()
        )
        write_config(asked.stage, options, config)
        if asked.changes and "s3_bucket" in options:
            template = placed(template, options["s3_bucket"], options["s3_prefix"], settings["stack_name"])
        command: list[str | Path] = [SAM, "deploy", "--template-file", template]
        command += ["--config-file", config, "--config-env", asked.stage]
        # CloudFormation keeps the change set that is not executed; the stack is as it was.
        command += ["--no-execute-changeset"] if asked.changes else []
        done = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603
    if done == 0 and not asked.changes and (output := environment.get("GITHUB_OUTPUT")):
        with Path(output).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in told(settings["stack_name"]).items())
    return done


def settings_of(stage: str) -> dict[str, Any]:
    """Return what samconfig.toml says of a stage's deployment. Raises `RefusedError` if it does not know it."""
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    known = sorted(stages.keys() - {"version", "default"})
    if stage not in known:
        raise RefusedError(f"samconfig.toml has no stage {stage!r}: it has {', '.join(known)}")
    section = stages[stage]
    settings: dict[str, Any] = section["global"]["parameters"] | section["deploy"]["parameters"]
    return settings


def check(package: Path, digest: str | None) -> None:
    """Raise `RefusedError` if a file of the package, or the package, is another than was packed."""
    sums = package / SUMS
    if not sums.exists():
        raise RefusedError(f"{package} has no {SUMS}: run `make package` first")
    if digest and sha256(sums.read_bytes()).hexdigest() != digest:
        raise RefusedError(f"{package} is not the package of digest {digest}")
    listed = {name: sum_ for sum_, name in (line.split(maxsplit=1) for line in sums.read_text().splitlines())}
    if ARCHIVE not in listed:
        raise RefusedError(f"{sums} does not list {ARCHIVE}")
    for name, expected in listed.items():
        path = package / name
        if not path.exists() or sha256(path.read_bytes()).hexdigest() != expected:
            raise RefusedError(f"{path} is not the file that was packed")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack what was built into a folder. A member that would lie outside of it is an error."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def defaults_of(template: Path) -> dict[str, str]:
    """Return the defaults of a built template's parameters, less those that a stack keeps."""
    parameters: dict[str, Any] = yaml.safe_load(template.read_text())["Parameters"]
    return {
        name: str(parameter["Default"])
        for name, parameter in parameters.items()
        if "Default" in parameter and name not in KEPT
    }


def placed(template: Path, bucket: str, apart: str, prefix: str) -> Path:
    """Upload what is to be shown, and return its template, with the code where a deployment will put it.

    So a change set names the functions that change, and not where the code lies while it is shown. CloudFormation
    looks for the code when it executes a change set.
    """
    packaged = template.with_name("placed.yaml")
    command: list[str | Path] = [
        SAM,
        "package",
        "--template-file",
        template,
        "--output-template-file",
        packaged,
    ]
    command += ["--s3-bucket", bucket, "--s3-prefix", apart, "--no-progressbar"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    packaged.write_text(packaged.read_text().replace(f"s3://{bucket}/{apart}/", f"s3://{bucket}/{prefix}/"))
    return packaged


def options_of(
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    defaults: Mapping[str, str],
    *,
    changes: bool = False,
    asks: bool = False,
) -> dict[str, Any]:
    """Return the options of `sam deploy`: those of samconfig.toml, with what the environment says.

    `defaults`: values of parameters that neither names, since CloudFormation would leave them as they were.
    `changes`: nothing will be executed. `asks`: there is a person to ask.
    """
    options = dict(settings) | {
        # A person at a terminal is asked, where the stage says so. In the pipeline a reviewer has approved it.
        "confirm_changeset": settings["confirm_changeset"] and asks,
        "fail_on_empty_changeset": False,
        "on_failure": "ROLLBACK",
        "no_progressbar": True,
    }
    if bucket := environment.get("ARTIFACT_BUCKET"):
        del options["resolve_s3"]
        # Apart, so that whoever may only show changes cannot write what is deployed.
        prefix = settings["stack_name"] + ("-changes" if changes else "")
        options |= {"s3_bucket": bucket, "s3_prefix": prefix}
    if role := environment.get("CLOUDFORMATION_ROLE"):
        options["role_arn"] = role
    overrides = dict(
        pair.split("=", 1)
        for given in (settings["parameter_overrides"], environment.get("PARAMETERS", ""))
        for pair in given.split()
    )
    unnamed = (f'{name}="{value}"' for name, value in defaults.items() if name not in overrides)
    options["parameter_overrides"] = " ".join(
        (*(f"{name}={value}" for name, value in overrides.items()), *unnamed)
    )
    return options


def write_config(stage: str, options: Mapping[str, Any], path: Path) -> None:
    """Write options as a samconfig file. A string or a truth value in JSON is one in TOML, too."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in options.items()]
    path.write_text("".join(("version = 0.1\n", f"[{stage}.deploy.parameters]\n", *lines)))


def told(stack: str) -> dict[str, str]:
    """Return the outputs of a deployed stack that later steps need, by their names there."""
    (described,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    found = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    return {name: found[key] for key, name in TOLD.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
