"""The package that every stage gets, and what is asked of `sam deploy` for it."""

import json
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import deploy
import package

SETTINGS = {
    "stack_name": "meterstone-dev",
    "resolve_s3": True,
    "confirm_changeset": True,
    "parameter_overrides": "Environment=development Stage=dev",
}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    (folder / "Function").mkdir(parents=True)
    (folder / "template.yaml").write_text("Resources: {}\n")
    (folder / "Function" / "app.py").write_text("handler = print\n")
    return folder


@pytest.fixture
def packed(built: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    package.pack(built, folder / package.ARCHIVE)
    (folder / package.BILL).write_text("{}")
    package.write_sums(folder, (package.ARCHIVE, package.BILL))
    return folder


def test_a_package_s_bytes_depend_on_its_content_alone(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.pack(built, tmp_path / "one.tar.gz")
    (built / "template.yaml").touch()
    (built / "Function").rename(built / "Moved")
    (built / "Moved").rename(built / "Function")
    (built / "Function" / "app.py").chmod(0o600)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    package.pack(built, tmp_path / "another.tar.gz")

    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "another.tar.gz").read_bytes()


def test_another_content_is_another_package(built: Path, tmp_path: Path) -> None:
    package.pack(built, tmp_path / "one.tar.gz")
    (built / "Function" / "app.py").write_text("handler = input\n")
    package.pack(built, tmp_path / "another.tar.gz")

    assert (tmp_path / "one.tar.gz").read_bytes() != (tmp_path / "another.tar.gz").read_bytes()


def test_what_was_built_is_unpacked_as_it_was(packed: Path, built: Path, tmp_path: Path) -> None:
    deploy.unpack(packed / deploy.ARCHIVE, tmp_path / "unpacked")

    for folder in (built, tmp_path / "unpacked"):
        assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {
            "template.yaml",
            "Function",
            "Function/app.py",
        }
    assert (tmp_path / "unpacked/Function/app.py").read_text() == "handler = print\n"


def test_the_sums_are_those_that_sha256sum_checks(packed: Path) -> None:
    checking = ("sha256sum", "--check", "--strict", package.SUMS)
    subprocess.run(checking, cwd=packed, check=True, capture_output=True)  # noqa: S603


def test_the_digest_is_that_of_the_sums(packed: Path) -> None:
    digest = package.write_sums(packed, (package.ARCHIVE, package.BILL))

    assert digest == sha256((packed / package.SUMS).read_bytes()).hexdigest()
    deploy.check(packed, digest)


def _change_the_archive(folder: Path) -> None:
    (folder / package.ARCHIVE).write_bytes(b"other")


def _change_the_bill(folder: Path) -> None:
    (folder / package.BILL).write_text("[]")


def _lose_the_bill(folder: Path) -> None:
    (folder / package.BILL).unlink()


def _change_all_and_sum_again(folder: Path) -> None:
    _change_the_archive(folder)
    package.write_sums(folder, (package.ARCHIVE, package.BILL))


def _sum_without_the_archive(folder: Path) -> None:
    package.write_sums(folder, (package.BILL,))


def _lose_the_sums(folder: Path) -> None:
    (folder / package.SUMS).unlink()


@pytest.mark.parametrize(
    "tamper",
    [
        _change_the_archive,
        _change_the_bill,
        _lose_the_bill,
        _change_all_and_sum_again,
        _sum_without_the_archive,
        _lose_the_sums,
    ],
)
def test_another_package_than_was_packed_is_not_deployed(
    packed: Path, tamper: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = sha256((packed / package.SUMS).read_bytes()).hexdigest()
    tamper(packed)

    assert deploy.main([str(packed), "dev"], {"DIGEST": digest}) == 1
    assert capsys.readouterr().err.startswith("deploy: ")


def test_a_package_without_its_archive_in_the_sums_is_not_deployed_without_a_digest(packed: Path) -> None:
    _sum_without_the_archive(packed)

    with pytest.raises(deploy.RefusedError):
        deploy.check(packed, None)


def test_an_unknown_stage_is_refused(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main([str(packed), "default"], {}) == 1
    assert "it has dev, prod, staging" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["dev", "staging", "prod"])
def test_a_stage_is_a_stack_of_its_own_with_an_api_stage_of_its_name(stage: str) -> None:
    settings = deploy.settings_of(stage)

    assert settings["stack_name"] == f"meterstone-{stage}"
    assert f"Stage={stage}" in settings["parameter_overrides"].split()
    assert settings["tags"] == f"application=meterstone environment={stage}"


@pytest.mark.parametrize("stage", ["dev", "staging", "prod"])
@pytest.mark.parametrize("asks", [True, False], ids=["a person", "a runner"])
def test_a_person_is_asked_before_production_changes_and_a_runner_is_not(stage: str, asks: bool) -> None:  # noqa: FBT001
    options = deploy.options_of(deploy.settings_of(stage), {}, {}, asks=asks)

    assert options["confirm_changeset"] is (asks and stage == "prod")


def test_no_change_is_no_failure_and_a_failure_is_rolled_back() -> None:
    options = deploy.options_of(SETTINGS, {}, {})

    assert options["fail_on_empty_changeset"] is False
    assert options["on_failure"] == "ROLLBACK"
    assert options["resolve_s3"] is True


def test_a_given_parameter_goes_before_the_stage_s_own() -> None:
    given = {"PARAMETERS": "Stage=other AlarmEmail=ops@example.com"}

    assert (
        deploy.options_of(SETTINGS, given, {})["parameter_overrides"]
        == "Environment=development Stage=other AlarmEmail=ops@example.com"
    )


def test_what_is_not_named_any_more_is_as_the_template_says_and_not_as_it_was(tmp_path: Path) -> None:
    """A deployment without a canary, say, is not to be the last one that has one."""
    built = tmp_path / "template.yaml"
    given = {"TrafficShifting": "true", "MemorySize": 1024, "AlarmEmail": "", "ExistingTableName": ""}
    built.write_text(json.dumps({"Parameters": {name: {"Default": each} for name, each in given.items()}}))
    defaults = deploy.defaults_of(built)

    assert deploy.options_of(SETTINGS, {"PARAMETERS": "MemorySize=2048"}, defaults)[
        "parameter_overrides"
    ] == ('Environment=development Stage=dev MemorySize=2048 TrafficShifting="true" AlarmEmail=""')


@pytest.mark.parametrize(
    ("changes", "prefix"),
    [(False, "meterstone-dev"), (True, "meterstone-dev-changes")],
    ids=["deploy", "show"],
)
def test_what_is_only_shown_is_stored_apart_from_what_is_deployed(changes: bool, prefix: str) -> None:  # noqa: FBT001
    given = {"ARTIFACT_BUCKET": "artefacts", "CLOUDFORMATION_ROLE": "arn:role"}
    options = deploy.options_of(SETTINGS, given, {}, changes=changes)

    assert (options["s3_bucket"], options["s3_prefix"], options["role_arn"]) == (
        "artefacts",
        prefix,
        "arn:role",
    )
    assert "resolve_s3" not in options


def test_what_is_only_shown_has_the_code_where_a_deployment_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that is as it was is not in the change set, and nothing is stored where it is deployed from."""
    asked: list[list[str]] = []

    def run(command: list[Any], **_: object) -> None:
        asked.append(list(map(str, command)))
        written = Path(command[command.index("--output-template-file") + 1])
        written.write_text(
            "CodeUri: s3://artefacts/meterstone-dev-changes/0123\nOther: s3://artefacts/else/1\n"
        )

    monkeypatch.setattr(subprocess, "run", run)
    built = tmp_path / "template.yaml"
    template = deploy.placed(built, "artefacts", "meterstone-dev-changes", "meterstone-dev")

    assert (
        template.read_text() == "CodeUri: s3://artefacts/meterstone-dev/0123\nOther: s3://artefacts/else/1\n"
    )
    ((_, verb, *options),) = asked
    assert verb == "package"
    assert options[options.index("--s3-prefix") + 1] == "meterstone-dev-changes"


def test_the_options_are_written_as_sam_reads_them(tmp_path: Path) -> None:
    options: dict[str, Any] = deploy.options_of(SETTINGS, {"PARAMETERS": 'Name=a"b\\c'}, {})
    deploy.write_config("dev", options, tmp_path / "samconfig.toml")

    written = tomllib.loads((tmp_path / "samconfig.toml").read_text())
    assert written["dev"]["deploy"]["parameters"] == options


def test_the_stack_s_outputs_that_later_steps_need_are_the_template_s() -> None:
    template = (deploy.ROOT / "template.yaml").read_text()
    outputs = template[template.index("\nOutputs:") :]

    assert all(f"\n  {key}:\n" in outputs for key in deploy.TOLD)


def test_an_archive_cannot_write_beside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "evil", arcname="../outside")

    with pytest.raises(tarfile.OutsideDestinationError):
        deploy.unpack(tmp_path / "evil.tar.gz", tmp_path / "unpacked")
