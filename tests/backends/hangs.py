"""Never comes to an end."""

from __future__ import annotations

import time

from ._faults import Faulty

BACKEND = Faulty("hangs", lambda: time.sleep(3600))
