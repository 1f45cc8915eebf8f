"""Is killed, as by the kernel for want of memory."""

from __future__ import annotations

import os
import signal

from ._faults import Faulty

BACKEND = Faulty("killed", lambda: os.kill(os.getpid(), signal.SIGKILL))
