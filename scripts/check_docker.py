#!/usr/bin/env python3
"""Checks the container files without Docker: hadolint, and the very steps of one in a root file system of its own.

    scripts/check_docker.py                                hadolint over docker/*Dockerfile
    scripts/check_docker.py docker/Dockerfile              … and its steps; as root, with debootstrap installed
    scripts/check_docker.py docker/Dockerfile --run info   … and then its entry point with `info`

The base image is a minimal Debian with an empty Python environment first on its PATH: that of `python:…-slim` as far
as the steps can tell. PIP_… and proxy variables go through; `--bind FOLDER` shows a folder, such as a package index.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dockerfile_parse import DockerfileParser

PROJECT = Path(__file__).resolve().parent.parent
FILES = sorted((PROJECT / "docker").glob("*Dockerfile"))
PASSED_ON = ("PIP_", "http_proxy", "https_proxy", "no_proxy")
BASE_PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
BASE_PATH = "/opt/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Container:
    """A root file system in which instructions are carried out as `docker build` would, one after the other."""

    def __init__(self, root: Path, binds: list[Path]) -> None:
        self.root, self.binds = root, binds
        self.workdir, self.user = "/", "0"
        self.shell = ["/bin/sh", "-c"]
        self.entrypoint: list[str] = []
        self.environment = {"PATH": BASE_PATH, "HOME": "/root"}
        self.arguments = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}

    def call(self, command: list[str]) -> None:
        """Runs a command inside, in a mount namespace of its own, so that nothing stays mounted."""
        lines = [f"mount -t proc proc {self._inside('/proc')}", f"mount --rbind /dev {self._inside('/dev')}"]
        for folder in self.binds:
            (self.root / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind {shlex.quote(str(folder))} {self._inside(str(folder))}")
        settings = [f"{key}={value}" for key, value in {**self.arguments, **self.environment}.items()]
        changed = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        user = [] if self.user == "0" else [f"--userspec={self.user}:{self.user}"]
        inside = ["chroot", *user, str(self.root), "/usr/bin/env", "-i", *settings, "/bin/sh", "-c", changed]
        lines.append(f"exec {shlex.join(inside)}")
        subprocess.run(["unshare", "--mount", "/bin/sh", "-ec", "\n".join(lines)], check=True)

    def step(self, instruction: str, value: str) -> None:
        """Carries out one instruction."""
        if instruction == "RUN":
            self.call([*self.shell, value])
        elif instruction == "COPY":
            *sources, target = value.split()
            for source in sources:
                self._copy(source, self._absolute(target))
        elif instruction == "WORKDIR":
            self.workdir = self._absolute(value)
            (self.root / self.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "ARG":
            key, _, default = value.partition("=")
            self.arguments.setdefault(key, default)
        elif instruction == "ENV":
            key, _, content = value.partition("=")
            self.environment[key] = content.replace("${PATH}", self.environment["PATH"])
        elif instruction == "USER":
            self.user = value
        elif instruction == "SHELL":
            self.shell = json.loads(value)
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(value)
        elif instruction not in ("CMD", "COMMENT", "FROM"):
            raise SystemExit(f"check_docker: {instruction} is not supported here")

    def _copy(self, source: str, target: str) -> None:
        """The files of the project's version control below `source`: those that .dockerignore lets through."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", source], cwd=PROJECT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            place = self.root / target.lstrip("/") / Path(name).relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, place)

    def _absolute(self, path: str) -> str:
        return str(Path(self.workdir) / path)

    def _inside(self, path: str) -> str:
        return shlex.quote(str(self.root / path.lstrip("/")))


def make_root(root: Path, suite: str) -> None:
    """A minimal Debian with an empty Python environment; one that is there is used as it is."""
    if not (root / "etc" / "debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", suite, str(root)], check=True)
    shutil.copy2("/etc/resolv.conf", root / "etc" / "resolv.conf")
    Container(root, []).call(["python3", "-m", "venv", "/opt/python"])


def main() -> int:
    """Exit code 0 where every check passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="container file whose steps are carried out")
    parser.add_argument("--root", type=Path, help="folder of the root file system, kept; default: one that is removed")
    parser.add_argument("--suite", default="bookworm", help="release of Debian")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="folder to show inside")
    parser.add_argument("--run", nargs="+", default=[], help="arguments to run its entry point with at the end")
    options = parser.parse_args()
    for file in FILES:
        print(f"check_docker: hadolint {file.relative_to(PROJECT)}", flush=True)
        subprocess.run(["hadolint", str(file)], check=True)
    if options.file is None:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.root or Path(scratch) / "root").resolve()
        make_root(root, options.suite)
        container = Container(root, [folder.resolve() for folder in options.bind])
        for step in DockerfileParser(fileobj=options.file.open("rb"), env_replace=False).structure:
            if step["instruction"] != "COMMENT":
                print(f"check_docker: {step['instruction']} {step['value'][:100]}", flush=True)
            container.step(step["instruction"], step["value"])
        if options.run:
            container.call([*container.entrypoint, *options.run])
    print("check_docker: passed")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"check_docker: failed with {error.returncode}: {error.cmd[0]}")
