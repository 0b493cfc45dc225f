"""`python -m fintech.compose.configuration`: write the configuration of Prometheus, Alertmanager, Grafana and the
others.

The files come from the image, not from the clone's folder, so they are readable whatever the clone's permissions are,
and wherever Docker runs. Safe to repeat: an unchanged file is not written again, and a removed one is deleted.
"""

import logging
import os
import sys
from collections.abc import Set
from pathlib import Path

from fintech import env
from fintech.telemetry.logging import write_json_lines
from observability import render

logger = logging.getLogger("fintech.compose")

SOURCE = Path(render.__file__).parent
TARGET = Path("/configuration")
# The path of the token for Alertmanager itself.
BOT_TOKEN_FILE = "/run/secrets/telegram_bot_token"  # noqa: S105 - a path

FOLDERS = ("prometheus", "alertmanager", "grafana", "loki", "tempo", "alloy", "blackbox")
# Profile of docker-compose.yml -> the scrape jobs that have no target without it.
OPTIONAL_JOBS = {"traces": ("tempo",), "containers": ("cadvisor",)}


def read_telegram() -> render.Telegram | None:
    """Return the settings of the bot; None without a bot. Only Alertmanager can read the token itself."""
    chat = env.text("AM_TELEGRAM_CHAT_ID", "")
    return render.Telegram(chat_id=int(chat), bot_token_file=BOT_TOKEN_FILE) if chat else None


def contents(profiles: Set[str], telegram: render.Telegram | None) -> dict[Path, bytes]:
    """Return the content of each file by its path below the volume."""
    found = {
        path.relative_to(SOURCE): path.read_bytes()
        for folder in FOLDERS
        for path in sorted((SOURCE / folder).rglob("*"))
        if path.is_file() and "tests" not in path.parts
    }
    del found[Path("alertmanager", "telegram.yml")]  # a part of the next file
    alertmanager = Path("alertmanager", "alertmanager.yml")
    found[alertmanager] = render.with_telegram(found[alertmanager].decode(), telegram).encode()
    for profile, jobs in OPTIONAL_JOBS.items():
        if not is_enabled(profile, profiles):
            found |= {Path("prometheus", "targets", f"{job}.yml"): b"[]\n" for job in jobs}
    # Alloy runs its whole folder: one file sends the traces to Tempo, the other drops them.
    del found[Path("alloy", "traces_dropped.alloy" if is_enabled("traces", profiles) else "traces.alloy")]
    return found


def is_enabled(profile: str, profiles: Set[str]) -> bool:
    """Return True if a profile is enabled, as Compose decides it: `*` enables all profiles."""
    return bool({profile, "*"} & profiles)


def write(target: Path, files: dict[Path, bytes]) -> None:
    """Replace whole files, readable for everyone, and remove all others."""
    target.chmod(0o755)
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == content:
            continue
        draft = path.with_name(f".{path.name}.new")
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.replace(path)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()


def main() -> None:
    write_json_lines()
    os.umask(0o022)
    try:
        profiles = set(env.words("COMPOSE_PROFILES", ""))
        write(TARGET, contents(profiles, read_telegram()))
    except (OSError, env.SettingError) as error:
        sys.exit(f"error: the configuration cannot be written: {error}")
    logger.info("configuration_written", extra={"profiles": sorted(profiles)})


if __name__ == "__main__":
    main()
