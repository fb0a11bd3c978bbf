"""Every alert fires on series that show its trouble and stays quiet on series that show none (Prometheus' own engine)."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.alert_cases import CASES, NOW_MINUTE
from tests.deploy.rendering import ROOT

ALERTS = ROOT / "deploy" / "observability" / "alerts"
PROMTOOL = shutil.which("promtool")


def test_alert_without_a_case_is_none() -> None:
    """An alert file that nobody has seen fire is a guess."""
    assert {path.stem for path in ALERTS.glob("*.yaml")} == {case.alert for case in CASES}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_alerts_fire_in_trouble_and_only_then(tmp_path: Path) -> None:
    """Each case is run through the rule file by promtool: one alert in trouble, none when quiet."""
    files = [tmp_path / f"{alert}.yaml" for alert in sorted({case.alert for case in CASES})]
    for file in files:
        tests = [
            _test(case.alert, series, fires=fires)
            for case in CASES
            for series, fires in ((case.trouble, True), (case.quiet, False))
            if case.alert == file.stem and series
        ]
        rules = [str(ALERTS / file.name)]
        file.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "1m", "tests": tests}))

    command = [str(PROMTOOL), "test", "rules", *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def _test(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, object]:
    rule = yaml.safe_load((ALERTS / f"{alert}.yaml").read_text())["groups"][0]["rules"][0]["alert"]
    return {
        "name": f"{alert}: {'trouble' if fires else 'quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{rule}",alertstate="firing"}}) or vector(0)',
                "eval_time": f"{NOW_MINUTE}m",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }
