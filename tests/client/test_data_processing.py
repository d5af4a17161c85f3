"""The filter and the join of a batch job: what SageMaker does, done for local mode."""

from __future__ import annotations

import pytest

from client import media_types
from client.data_processing import DataProcessingError, filtered, joined

ROW = ['1,0.5,"0,25"']


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("$[1:]", '0.5,"0,25"'),
        ("$[:-1]", "1,0.5"),
        ("$[0]", "1"),
        ("$[-1]", '"0,25"'),
        ("$[0:2]", "1,0.5"),
    ],
)
def test_columns_of_csv_are_chosen_by_index(path: str, left: str) -> None:
    """As in JSONPath; what was quoted stays quoted."""
    assert [left] == filtered(ROW, path, media_types.CSV)


def test_a_field_of_json_lines_is_chosen_by_name() -> None:
    """Whatever else the record has."""
    lines = ['{"id": 7, "features": [0.5, 0.25]}']

    assert ["[0.5, 0.25]"] == filtered(lines, "$.features", media_types.LINES)


@pytest.mark.parametrize(
    ("lines", "path", "media_type"),
    [
        (ROW, "$.features", media_types.CSV),
        (ROW, "$[]", media_types.CSV),
        (['{"id": 7}'], "$.features", media_types.LINES),
        (["[7]"], "$.features", media_types.LINES),
        (["{}"], "$", media_types.JSON),
    ],
)
def test_a_filter_that_local_mode_does_not_know_is_refused(
    lines: list[str], path: str, media_type: str
) -> None:
    """Rather than ignored, as the SDK does with every filter."""
    with pytest.raises(DataProcessingError):
        filtered(lines, path, media_type)


def test_a_record_gets_the_reply_as_a_field() -> None:
    """SageMakerOutput; what is no record becomes SageMakerInput."""
    found = joined(['{"id": 7}', "[7]"], ['{"score": 0.5}', "0.25"], media_types.LINES)

    assert [
        '{"id": 7, "SageMakerOutput": {"score": 0.5}}',
        '{"SageMakerInput": [7], "SageMakerOutput": 0.25}',
    ] == found


@pytest.mark.parametrize("media_type", [media_types.CSV, media_types.NPY])
def test_rows_and_replies_that_do_not_match_are_not_joined(media_type: str) -> None:
    """A score in the wrong row would be found out late."""
    with pytest.raises(DataProcessingError):
        joined(["1", "2"], ["0.5"], media_type)
