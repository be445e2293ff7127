"""Read models that do not hold the whole log yet: nobody reads them, and everybody is told how far they are."""

from __future__ import annotations

import pytest

from runicorn.events.log import FileLog
from runicorn.projection.model import ReadModel
from runicorn.projection.read_models import ReadModels
from runicorn.projection.reading import ModelReader, ModelsBeingBuilt
from runicorn_runs.projections.metric_points import MetricPoints
from runicorn_runs.projections.run_list import RunList
from tests.core.projection.test_projector_process import created, finished, is_level, lines
from tests.run_rows import actual_rows
from tests.stores import make_run


def test_until_new_read_models_hold_the_whole_log_nobody_reads_them(root, state, start, monkeypatch):
    for number in range(30):
        make_run(root, f"p/n/runs/{number}", events=created(str(number)) + lines(3) + finished())
    projector = start()
    projector.wait_until(lambda: is_level(projector))
    projector.stop()
    monkeypatch.setattr(MetricPoints, "version", 1000)  # as after an upgrade
    projections = [RunList(), MetricPoints()]
    reader = ModelReader(state, "runs", projections)
    with pytest.raises(ModelsBeingBuilt, match=r"being built\. Try"):
        reader.query(actual_rows)  # the old file is ready, but not of this version
    model = ReadModel.open_newest(state, "runs", projections)
    log = FileLog(root, state)
    models = ReadModels(log, [model])
    for stream in log.streams():
        models.mark(stream)
    models.begin()
    models.apply_some(2000)
    with pytest.raises(ModelsBeingBuilt, match=r"being built \([0-9]+ %\)"):
        reader.query(actual_rows)
    while models.dirty:
        models.apply_some(1 << 20)
    models.become_ready()
    assert len(reader.query(actual_rows)[0]) == 30
    reader.reopen()
    models.close()
