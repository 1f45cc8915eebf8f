"""The checkout's entry: `python build.py ...` is `sprue ...`, without installing the checkout itself.

`python -m build` in a checkout finds this file before PyPI's `build`; it then says so instead of running.
"""

import sys
from pathlib import Path

if sys.modules["__main__"].__spec__ is not None:
    sys.exit("this is sprue's build.py; to make sprue's own wheel, run: pyproject-build")

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

try:
    from sprue.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}; install what sprue needs first: pip install -e '.[all]'")

main()
