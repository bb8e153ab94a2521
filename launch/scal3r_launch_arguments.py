"""How the launch files beside this one read their arguments.

`ros2 launch` runs with the Python of ROS, which does not import the package where that is installed in a virtual
environment: what the files share stands in their folder, and each puts it on the path.
"""

from pathlib import Path

DRAIN_S = "90.0"
"""How long a mapper may map what it has received, and write its result, after the first SIGINT."""


def flag(name: str, given: dict[str, str], auto: bool | None = None) -> bool:
    """An argument that is true or false; `auto` is what the word auto means, where that may be given, too."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if auto is not None:
        known["auto"] = auto
    if given[name].lower() not in known:
        raise RuntimeError(f"argument {name} is {given[name]!r}, but must be true or false")
    return known[given[name].lower()]


def number(name: str, given: dict[str, str]) -> float:
    """An argument that is a number."""
    try:
        return float(given[name])
    except ValueError as error:
        raise RuntimeError(f"argument {name} is {given[name]!r}, but must be a number") from error


def parameter_files(profile: str, share: Path) -> list[str]:
    """The file of defaults and, after it, that of the profile: it holds only the values that differ."""
    default = share / "config" / "default.yaml"
    own = share / "config" / f"{profile}.yaml"
    path = own if own.is_file() else Path(profile)
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in (share / "config").glob("*.yaml")))
        raise RuntimeError(f"argument profile is {profile!r}, which is neither a file nor one of {known}")
    return [str(file) for file in dict.fromkeys([default, path])]
