"""Let `time.sleep` work under libfaketime: Python imports this module at the start, if its folder is in PYTHONPATH.

Since 3.11, `time.sleep` waits until a time of the monotonic clock. libfaketime 0.9.10 converts this time with the
offset of the real clock, and the call fails. A time-out of `select` is relative.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    select.select((), (), (), float(seconds))


time.sleep = sleep
