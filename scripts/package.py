"""Pack what `sam build` built, once for every stage: `package.py FOLDER`.

FOLDER then holds
- `meterstone.tar.gz`: the built template, functions and layer. Its bytes depend on their content alone;
- `sbom.cdx.json`: the bill of materials in CycloneDX, from the pinned requirements of the layer and of the two
  functions that have packages of their own. The Lambda runtime brings the SDK;
- `SHA256SUMS`: the SHA-256 of both, as `sha256sum --check` reads it.

The SHA-256 of `SHA256SUMS` is the package's digest: it is printed, and in a GitHub workflow given as the step's
output `digest`, for `scripts/deploy.py` to check. Runs in the environment `.venvs/supply`.
"""

import gzip
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam" / "build"
REQUIREMENTS = (
    ROOT / "layers" / "meterstone" / "requirements.txt",
    ROOT / "functions" / "manage_catalogue" / "requirements.txt",
    ROOT / "functions" / "recount_usage" / "requirements.txt",
)
ARCHIVE = "meterstone.tar.gz"
BILL = "sbom.cdx.json"
SUMS = "SHA256SUMS"


def pack(built: Path, archive: Path) -> None:
    """Write a tar archive of the folder `built`, without times, owners or the order of a file system."""
    with (
        archive.open("wb") as file,
        # `filename` and `mtime` would stand in gzip's header.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(built.rglob("*"), key=lambda path: path.relative_to(built).as_posix()):
            member = tar.gettarinfo(path, arcname=path.relative_to(built).as_posix())
            member.mtime = 0
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if path.is_dir() or member.mode & 0o100 else 0o644
            if path.is_file():
                with path.open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)


def bill_of_materials(requirements: Iterable[Path], bill: Path) -> None:
    """Write the CycloneDX bill of the pinned packages, each with its hashes. Raises `CalledProcessError`."""
    listed = "".join(path.read_text() for path in requirements)
    tool = Path(sys.executable).with_name("cyclonedx-py")
    # It warns that a list of requirements does not say which package needs which.
    quiet = os.environ | {"PYTHONWARNINGS": "ignore::UserWarning"}
    subprocess.run(  # noqa: S603
        (
            *(tool, "requirements", "-", "--pyproject", ROOT / "pyproject.toml"),
            *("--output-reproducible", "--output-format", "JSON", "--output-file", bill),
        ),
        env=quiet,
        input=listed,
        text=True,
        check=True,
    )


def write_sums(folder: Path, names: tuple[str, ...]) -> str:
    """Write `SHA256SUMS` over files of the folder. Return its own SHA-256, in hexadecimal."""
    lines = [f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    sums = folder / SUMS
    sums.write_text("".join(lines))
    return sha256(sums.read_bytes()).hexdigest()


def main(folder: Path) -> int:
    """Make the package. Return 1 if nothing was built."""
    if not (BUILT / "template.yaml").exists():
        print("package: .aws-sam/build is missing: run `make build` first", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    pack(BUILT, folder / ARCHIVE)
    bill_of_materials(REQUIREMENTS, folder / BILL)
    digest = write_sums(folder, (ARCHIVE, BILL))
    print((folder / SUMS).read_text(), end="")
    print(f"digest {digest}")
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a") as file:
            file.write(f"digest={digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
