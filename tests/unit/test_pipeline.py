"""The pipeline: that a runner does nothing but what is done here, and that it may do no more than it needs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import deploy
from support.cloudformation import TemplateLoader, deployed

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / ".github/workflows/pipeline.yaml").read_text()
#: `on` is a truth value in YAML 1.1: it is read as True.
WORKFLOW: dict[Any, Any] = yaml.safe_load(SOURCE)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [(job, step) for job, described in JOBS.items() for step in described["steps"]]
RUNS = [(job, step) for job, step in STEPS if "run" in step]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))
#: What .ci/run runs, and within it the deployment to the emulator.
HERE = set(re.findall(r"^section make (\S+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)) | {
    *re.search(r'for target in \(("\w+", "\w+")\)', (ROOT / "scripts/deploy_local.py").read_text())  # type: ignore[union-attr]
    .group(1)
    .replace('"', "")
    .split(", "),
    *re.findall(r"^\t@\$\(MAKE\) (\S+)$", MAKEFILE, re.MULTILINE),
}
#: Targets that the pipeline alone can run, with the reason.
NOT_HERE = {
    "audit-dependencies": "it asks PyPI for advisories: a machine without the internet has none",
}
STAGES = ["dev", "staging", "prod"]
BOOTSTRAP: dict[str, Any] = yaml.load((ROOT / "bootstrap.yaml").read_text(), TemplateLoader)  # noqa: S506 (a SafeLoader)
ROLES = {
    name: resource["Properties"]
    for name, resource in BOOTSTRAP["Resources"].items()
    if resource["Type"] == "AWS::IAM::Role"
}


def _statements(role: str) -> dict[str, dict[str, Any]]:
    (policy,) = ROLES[role]["Policies"]
    return {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}


def _actions(role: str) -> set[str]:
    given = (each["Action"] for each in _statements(role).values())
    return {action for each in given for action in ([each] if isinstance(each, str) else each)}


def _before(job: str) -> set[str]:
    """Name all jobs that must have ended well before a job begins."""
    needed = JOBS[job].get("needs", [])
    direct = {needed} if isinstance(needed, str) else set(needed)
    return direct.union(*(_before(each) for each in direct))


@pytest.mark.parametrize(("job", "step"), RUNS, ids=[f"{job}: {step['run']}" for job, step in RUNS])
def test_a_runner_runs_targets_that_are_run_here(job: str, step: dict[str, Any]) -> None:
    words = step["run"].split()

    assert words[0] == "make"
    assert len(words) == 2
    assert words[1] in TARGETS
    assert (words[1] in HERE) != (words[1] in NOT_HERE)


def test_what_only_the_pipeline_runs_is_run_by_it() -> None:
    assert {step["run"].split()[1] for _, step in RUNS} >= NOT_HERE.keys()


def test_a_runner_runs_all_that_a_change_must_pass_here() -> None:
    """But for `environments`: each target makes what it needs."""
    ran = {step["run"].split()[1] for _, step in RUNS}

    assert set(HERE) - ran == {"environments"}


def test_a_step_gives_a_script_what_it_reads() -> None:
    read = set(re.findall(r"^- `(\w+)`:", deploy.__doc__ or "", re.MULTILINE)) | {"STAGE", "URL", "KEY"}

    assert {name for _, step in RUNS for name in step.get("env", {})} == read


@pytest.mark.parametrize("action", sorted({step["uses"] for _, step in STEPS if "uses" in step}))
def test_an_action_is_pinned_by_its_commit_with_its_version_beside_it(action: str) -> None:
    name, commit = action.split("@")
    pinned = set(re.findall(rf"uses: {re.escape(name)}@(\S+) # (v\d+\.\d+\.\d+)$", SOURCE, re.MULTILINE))

    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert len(pinned) == 1
    assert len(re.findall(rf"uses: {re.escape(name)}@", SOURCE)) == len(
        re.findall(rf"uses: {re.escape(action)} # v", SOURCE)
    )


@pytest.mark.parametrize("job", JOBS)
def test_a_job_may_read_the_code_and_if_it_deploys_say_who_it_is(job: str) -> None:
    assumes = any("aws-actions/" in step.get("uses", "") for step in JOBS[job]["steps"])

    assert JOBS[job]["permissions"] == {"contents": "read"} | ({"id-token": "write"} if assumes else {})


def test_nothing_is_permitted_beside_the_jobs_permissions() -> None:
    assert WORKFLOW["permissions"] == {}


def test_the_only_secret_is_the_key_of_the_deployment_s_tests() -> None:
    assert set(re.findall(r"secrets\.(\w+)", SOURCE)) == {"DEPLOYMENT_TEST_KEY"}


def test_every_push_to_main_is_deployed_and_a_proposal_is_only_tested() -> None:
    assert WORKFLOW[True] == {"pull_request": None, "push": {"branches": ["main"]}}
    assert JOBS["package"]["if"] == "github.event_name == 'push'"
    assert {job for job in JOBS if "environment" in JOBS[job]} <= {
        job for job in JOBS if "package" in _before(job)
    }


def test_nothing_is_packed_that_did_not_pass() -> None:
    assert _before("package") == {"check", "test", "deploy-local"}


def test_production_comes_after_staging_was_tested_and_its_changes_were_shown() -> None:
    assert _before("deploy-prod") >= {"deploy-dev", "deploy-staging", "test-staging", "show-prod"}
    assert [JOBS[f"deploy-{stage}"]["environment"] for stage in STAGES] == STAGES
    assert JOBS["show-prod"]["environment"] == "prod-changes"


def test_one_package_is_made_and_every_stage_is_held_to_its_digest() -> None:
    assert [job for job, step in RUNS if step["run"] == "make package"] == ["package"]
    deployments = [(job, step) for job, step in RUNS if step["run"] in {"make deploy", "make changes"}]
    assert len(deployments) == len(STAGES) + 1
    for job, step in deployments:
        assert step["env"]["DIGEST"] == "${{ needs.package.outputs.digest }}"
        assert "package" in JOBS[job]["needs"]
        assert step["env"]["STAGE"] in STAGES


def test_a_deployment_that_runs_is_never_cancelled() -> None:
    assert WORKFLOW["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


@pytest.mark.parametrize(
    ("role", "environment"), [("PipelineRole", "${Stage}"), ("ReviewRole", "${Stage}-changes")]
)
def test_a_role_is_for_jobs_of_one_environment_of_one_repository(role: str, environment: str) -> None:
    (statement,) = ROLES[role]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {
                "Fn::Sub": f"repo:${{Repository}}:environment:{environment}"
            },
        }
    }


def test_who_shows_changes_cannot_make_them_or_write_what_is_deployed() -> None:
    assert _actions("PipelineRole") - _actions("ReviewRole") == {
        "cloudformation:ExecuteChangeSet",
        "cloudformation:DescribeStackEvents",
    }
    written = {
        role: _statements(role)["StoreArtefacts"]["Resource"]["Fn::Sub"]
        for role in ("PipelineRole", "ReviewRole")
    }
    assert written == {
        "PipelineRole": "${ArtifactBucket.Arn}/meterstone-${Stage}/*",
        "ReviewRole": "${ArtifactBucket.Arn}/meterstone-${Stage}-changes/*",
    }


def test_cloudformation_may_make_whatever_the_template_can_have() -> None:
    everything = {"Start": "provisioned", "FirewallRate": "1000", "DomainName": "usage.example.com"}
    everything |= {"CertificateArn": "arn:certificate", "KmsKeyArn": "arn:key", "MonthlyBudget": "100"}
    everything |= {"AccessLogs": "on-and-set-account-role", "AlarmEmail": "alarms@example.com"}
    types = {resource["Type"] for resource in deployed(**everything).values()}
    services = {name.split("::")[1].lower() for name in types}

    assert services - {action.split(":")[0] for action in _actions("CloudFormationRole")} == set()


#: What CloudFormation asks IAM for when it makes, reads, changes and deletes these, by the `handlers` of the
#: resource types' schemas, which cfn-lint has. Nothing is here for groups, users, permissions boundaries, and
#: descriptions of roles: the template has none.
OF_ROLES = {
    *("AttachRolePolicy", "CreateRole", "DeleteRole", "DeleteRolePolicy", "DetachRolePolicy", "GetRole"),
    *("GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies", "PutRolePolicy"),
    *("TagRole", "UntagRole", "UpdateAssumeRolePolicy"),
}
OF_MANAGED_POLICIES = {
    *("CreatePolicy", "CreatePolicyVersion", "DeletePolicy", "DeletePolicyVersion", "GetPolicy"),
    *("GetPolicyVersion", "ListEntitiesForPolicy", "ListPolicyVersions"),
}


def test_cloudformation_may_make_read_and_delete_roles_and_their_policies() -> None:
    statements = _statements("CloudFormationRole")

    assert set(statements["Roles"]["Action"]) == {f"iam:{name}" for name in OF_ROLES | {"PassRole"}}
    assert set(statements["ManagedPolicies"]["Action"]) == {f"iam:{name}" for name in OF_MANAGED_POLICIES}


def test_cloudformation_cannot_change_the_roles_that_can_start_it() -> None:
    resources = json.dumps(_statements("CloudFormationRole")["Roles"]["Resource"])
    names = [role["RoleName"]["Fn::Sub"] for role in ROLES.values()]

    assert "role/meterstone-${Stage}-*" in resources
    assert not [name for name in names if name.startswith("meterstone-${Stage}-")]


@pytest.mark.parametrize("template", ["template.yaml", "bootstrap.yaml"])
def test_every_exception_of_the_audit_says_why(template: str) -> None:
    found = re.findall(r"checkov:skip=(\w+)(.*)$", (ROOT / template).read_text(), re.MULTILINE)

    assert found
    assert [name for name, reason in found if len(reason.split()) < 5] == []


def test_every_exception_for_all_of_a_kind_says_why() -> None:
    lines = (ROOT / ".checkov.yaml").read_text().splitlines()
    skipped = [number for number, line in enumerate(lines) if re.fullmatch(r"  - CKV_AWS_\d+", line)]

    assert skipped
    assert all(lines[number - 1].startswith("  # ") for number in skipped)


def test_every_event_file_is_named_after_a_function_that_is_invoked_locally() -> None:
    known = set(
        re.findall(
            r"^        (\w+)\.\*\) function=", (ROOT / "scripts/local-invoke").read_text(), re.MULTILINE
        )
    )

    assert {path.name.split(".")[0] for path in (ROOT / "events").glob("*.json")} == known
