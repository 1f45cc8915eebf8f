"""The folder `targets/`: target descriptions (*.toml) and one backend per file or folder.

It stands at the root of a checkout and inside the wheel as `sprue/_targets`; the `__path__` line makes its
modules importable as `sprue.targets.<name>` from either.
"""

from pathlib import Path

SHIPPED = Path(__file__).with_name("_targets")
CHECKOUT = Path(__file__).resolve().parents[2] / "targets"
FOLDER = SHIPPED if SHIPPED.is_dir() else CHECKOUT
__path__ = [str(FOLDER)]
