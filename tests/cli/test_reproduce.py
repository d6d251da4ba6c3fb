"""`kmrcnn reproduce`: lists, refuses, prints."""

import pytest

from kmrcnn.cli.__main__ import main
from kmrcnn.reproduce import reproduce as module
from kmrcnn.reproduce.runs import RunResult


def test_without_a_table_they_are_listed(capsys):
    assert main(["reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("table2b ") and "--mini" in line for line in lines)
    assert any(line.startswith("table8 ") and "--mini" not in line for line in lines)


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["table9"], "must be one of class_agnostic, table2a"),
        (["table2b"], "needs `data`"),
        (["table2b", "--data", "nowhere"], "nowhere"),
        (["table2d", "--mini"], "no scaled-down version"),
        (["table2b", "--mini", "--rows", "tanh"], "softmax"),
        (["table2b", "--mini", "--seeds", "0"], "seeds"),
    ],
)
def test_mistakes_end_the_command_in_a_line(tmp_path, capsys, arguments, message):
    assert main(["reproduce", *arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_the_table_is_printed(tmp_path, capsys, monkeypatch):
    figures = {"softmax": 0.1, "sigmoid": 0.2}

    def execute(run, *rest):
        metrics = dict.fromkeys(run.table.metrics, figures[run.row.name] + 0.01 * run.seed)
        return RunResult(run.row.name, run.seed, metrics, 60.0, 90.0, run.fingerprint)

    monkeypatch.setattr(module, "execute", execute)
    assert main(["reproduce", "table2b", "--mini", "--quiet", "--output", str(tmp_path)]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "softmax 11.0 ± 1.0 (24.8) 11.0 ± 1.0 (44.1) 11.0 ± 1.0 (25.1) 3 3.0 4.5" in printed
    assert (
        "sigmoid less softmax +10.0 ± 0.0 (+5.5) +10.0 ± 0.0 (+7.1) +10.0 ± 0.0 (+6.4)" in printed
    )
