"""`python3 -m fintech.run.venv requirements.txt`: create the virtual environment, and update it when the pins change.

It runs before anything is installed, so it uses only the standard library.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from fintech.run import environment

BASE_DIR = Path(__file__).resolve().parents[2]
VENV = BASE_DIR / ".venv"


def fits() -> bool:
    """Return True if the environment belongs to this Python; a moved one, or one whose Python is gone, does not."""
    configuration = VENV / "pyvenv.cfg"
    if not (VENV / "bin" / "python").exists() or not configuration.exists():
        return False
    version = ".".join(map(str, sys.version_info[:2]))
    return f"version = {version}." in configuration.read_text() and (VENV / "bin" / "pip").exists()


def stamp_of(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def is_current(requirements: Path) -> bool:
    """Return True if the environment is current. The pins for development include those of the platform."""
    for name in {requirements.name, "requirements-dev.txt"}:
        stamp, pins = VENV / f"installed-{name}", BASE_DIR / name
        if stamp.exists() and pins.exists() and stamp.read_text() == stamp_of(pins):
            return fits()
    return False


def make(requirements: Path) -> None:
    began = time.monotonic()
    if not fits():
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], "Debian and Ubuntu need the package python3-venv")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # The pins are complete, so pip has nothing to resolve; Python compiles what it imports when it does. --no-user
    # overrides a `user = true` in the caller's pip.conf, which decides only where packages come from.
    options = ["--no-deps", "--no-compile", "--no-user", "--requirement", str(requirements)]
    run([*pip, *options], "pip says why above")
    make_importable()
    for stamp in VENV.glob("installed-*"):
        stamp.unlink()  # pins of one file may have changed those of the other
    (VENV / f"installed-{requirements.name}").write_text(stamp_of(requirements))
    say(f"Installed {requirements.name} into {VENV.name} ({time.monotonic() - began:.0f} s)\n")


def make_importable() -> None:
    """Let the environment's Python find the project, also where PYTHONSAFEPATH keeps the current folder out."""
    version = "{}.{}".format(*sys.version_info[:2])
    packages = VENV / "lib" / f"python{version}" / "site-packages"
    # Relative, because Python reads this file in the locale's encoding, which may lack letters of BASE_DIR.
    (packages / "fintech.pth").write_text(f"{os.path.relpath(BASE_DIR, packages)}\n", encoding="ascii")


def run(command: list[str], advice: str) -> None:
    """Run a command to its end, with a line that shows progress."""
    began = time.monotonic()
    process = subprocess.Popen(command)
    while process.poll() is None:
        if sys.stdout.isatty():
            say(f"Installing into {VENV.name}, once ... {time.monotonic() - began:.0f} s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    if process.returncode != 0:
        sys.exit(f"\nerror: {' '.join(command[1:5])} failed: {advice}.")


def say(text: str) -> None:
    """Print a line, on a terminal in place of the previous one."""
    sys.stdout.write(f"\r{text}" if sys.stdout.isatty() else text)
    sys.stdout.flush()


def main() -> None:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"error: Python {sys.version.split()[0]} does not fit: install Python 3.11, 3.12 or 3.13.")
    environment.drop_unknown(also=environment.PIP)
    requirements = BASE_DIR / sys.argv[1]
    if not is_current(requirements):
        try:
            make(requirements)
        except KeyboardInterrupt:
            sys.exit("\nerror: The installation was interrupted: the next run installs again.")


if __name__ == "__main__":
    main()
