"""Crashes its process."""

from __future__ import annotations

import os

from ._faults import Faulty

BACKEND = Faulty("aborts", os.abort)
