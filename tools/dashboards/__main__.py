"""Write k8s/dashboards/*.json from the description: a test holds the files to it.

python -m tools.dashboards
python -m tools.dashboards --pictures docs/pictures     # and draw each; needs Debian's prometheus and chromium
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tools.dashboards import draw
from tools.dashboards.description import DASHBOARDS
from tools.dashboards.evaluate import Evaluation, evaluation
from tools.dashboards.grafana import Dashboard, as_json
from tools.pictures.browser import Part, chromium, picture
from tools.sandboxed import ROOT

FOLDER = ROOT / "k8s" / "dashboards"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.dashboards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    folder: Path | None = parser.parse_args().pictures
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.name}.json"
        path.write_text(as_json(dashboard))
        print(path.relative_to(ROOT))
    if folder:
        with (
            tempfile.TemporaryDirectory(prefix="slipway-dashboards-") as scratch,
            evaluation(Path(scratch)) as evaluated,
        ):
            for dashboard in DASHBOARDS:
                print(_picture(dashboard, evaluated, Path(scratch), folder))


def _picture(dashboard: Dashboard, evaluated: Evaluation, scratch: Path, folder: Path) -> Path:
    found = [
        [
            (draw.legend(query.legend, line.labels), line)
            for query in panel.queries
            for line in evaluated.lines(query.expression)
        ]
        for panel in dashboard.panels
    ]
    (scratch / "page.html").write_text(draw.page(dashboard, found))
    width, height = draw.size(dashboard)
    file = folder / f"dashboard-{dashboard.name}.png"
    whole = Part((width, height), width=width, height=height)
    picture(chromium(), (scratch / "page.html").as_uri(), whole, file)
    return file


if __name__ == "__main__":
    main()
