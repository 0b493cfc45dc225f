"""Faults of the machine and its file systems."""

import os
import subprocess
from collections.abc import Callable

from loadtests.drill import NotPossible
from loadtests.drill.lab import Drill

DISK_MEGABYTES = 24


def fill_disk(share: float) -> Callable[[Drill], None]:
    """Mount a small file system of its own, and fill it. `share` of it remains available."""

    def fill(drill: Drill) -> None:
        image, folder = drill.monitoring.directory / "disk.img", drill.monitoring.directory / "disk"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(DISK_MEGABYTES * 1024**2)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode != 0:
            raise NotPossible("it needs the right to mount a file system")
        drill.stack.callback(lambda: subprocess.run(["umount", folder], check=True))
        space = os.statvfs(folder)
        with (folder / "filler").open("wb") as file:
            os.posix_fallocate(
                file.fileno(), 0, int(space.f_bavail * space.f_frsize - share * space.f_blocks * space.f_frsize)
            )
        drill.machine.set_file_system(folder, "ext4")

    return fill


def clear_disk(drill: Drill) -> None:
    (drill.monitoring.directory / "disk" / "filler").unlink()
