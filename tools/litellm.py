"""Install LiteLLM, as the sandbox runs it for `gateway.backend: litellm`, in an environment of its own: 600 MB.

python -m tools.litellm .litellm
SLIPWAY_LITELLM=$PWD/.litellm/bin/python slipway sandbox up
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tasks.records.environment import BACKENDS

VERSION = BACKENDS["litellm"].rpartition(":v")[2]
# of the image's extras `proxy-runtime` and `extra_proxy`, what LiteLLM imports here: it answers 500 for 401 without prisma
REQUIREMENTS = (f"litellm[proxy]=={VERSION}", "prometheus-client", "prisma")
INSTALL_SECONDS = 1800


def main(folder: Path) -> int:
    python = folder / "bin" / "python"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
        # compiled at once: the first start would spend a minute on it
        words: list[str | Path] = [
            uv,
            "pip",
            "install",
            "--system-certs",
            "--compile-bytecode",
            "--python",
            python,
        ]
        subprocess.run([*words, *REQUIREMENTS], check=True, timeout=INSTALL_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no LiteLLM {VERSION} in {folder}: {error}", file=sys.stderr)
        return 1
    print(f"{python}: LiteLLM {VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
