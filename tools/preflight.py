"""Says in one sentence what this machine lacks before anything is installed. Runs on any Python 3."""

import os
import shutil
import sys
import sysconfig


def missing():
    if sys.version_info < (3, 11):
        return "Python 3.11 or newer is needed and %s is %s: type `make PYTHON=/path/to/python3.11`." % (
            sys.executable,
            sys.version.split()[0],
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "python3 has no venv module: install it (on Debian `apt-get install python3-venv`)."
    if not shutil.which(os.environ.get("CXX", "c++").split()[0]):
        return "There is no C++ compiler: install one (on Debian `apt-get install g++`), or set CXX to yours."
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "Python's headers are missing: install them (on Debian `apt-get install python3-dev`)."
    return None


if __name__ == "__main__":
    sys.exit(missing())
