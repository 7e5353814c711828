from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hspace.attributes import read_scores, scores_of
from hspace.errors import HspaceError

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.csv"


def test_scores_by_seed(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbfsmile , "hair, long",seed\r\n0.5,2,7\r\n\r\n -1 ,1e-3, -8\r\n')
    table = read_scores(path)
    assert table == {7: {"smile": 0.5, "hair, long": 2.0}, -8: {"smile": -1.0, "hair, long": 1e-3}}
    scores = scores_of(table, (-8, 7, 7))
    assert torch.equal(scores["smile"], torch.tensor([-1.0, 0.5, 0.5], dtype=torch.float64))
    assert list(scores) == ["smile", "hair, long"]
    assert scores_of(table, [])["smile"].shape == (0,)


@given(st.dictionaries(st.integers(0, 2**63), st.tuples(FINITE, FINITE), min_size=1, max_size=5))
def test_every_number_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, tuple[float, float]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "scores.csv"
    lines = [f"{seed},{a!r},{b!r}" for seed, (a, b) in rows.items()]
    path.write_text("\n".join(["seed,a,b", *lines]), encoding="utf-8")
    scores = scores_of(read_scores(path), rows)
    assert list(zip(scores["a"].tolist(), scores["b"].tolist(), strict=True)) == list(rows.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "scores.csv is empty; expected a line with the column names"),
        ("\n\n", "scores.csv is empty"),
        ("seed,smile\n", "scores.csv has column names but no scores"),
        ("smile,age\n1,2\n", "scores.csv, line 1: no column 'seed'; found 'smile', 'age'"),
        ("\nSeed;smile\n1;2\n", "scores.csv, line 2: no column 'seed'; found 'Seed;smile'"),
        ("seed\n1\n", "scores.csv, line 1: no attribute beside the column 'seed'"),
        (",seed,smile\n0,1,2\n", "scores.csv, line 1: column 1 has no name"),
        ("seed,smile,smile\n1,2,3\n", "scores.csv, line 1: two columns are named 'smile'"),
        ("seed,smile\n1,2\n\n2,3\n1,4\n", "scores.csv, line 5: seed 1 is there already, in line 2"),
        ("seed,smile\n1,2\n2\n", "scores.csv, line 3: 1 cells, but 2 columns"),
        ("seed,smile\n1.0,2\n", "scores.csv, line 2: the seed is no integer: '1.0'"),
        ("seed,smile\n1_0,2\n", "scores.csv, line 2: the seed is no integer: '1_0'"),
        ("seed,smile,age\n1,2,\n", "scores.csv, line 2, column 'age': not a number: ''"),
        ("seed,smile\n1,1_0\n", "scores.csv, line 2, column 'smile': not a number: '1_0'"),
        ("seed,smile\n1,2\n2,nan\n", "scores.csv, line 3, column 'smile': not a finite number: 'nan'"),
        ("seed,smile\n1,-inf\n", "scores.csv, line 2, column 'smile': not a finite number: '-inf'"),
        ('seed,smile\n1,"2"3\n', "scores.csv is no CSV in UTF-8"),
    ],
)
def test_bad_tables_are_one_line_with_file_and_line(path: Path, text: str, message: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HspaceError) as caught:
        read_scores(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(path: Path) -> None:
    with pytest.raises(HspaceError, match=r"can't read .*scores\.csv \(No such file"):
        read_scores(path)
    with pytest.raises(HspaceError, match=r"can't read .*directory"):
        read_scores(path.parent)
    path.write_bytes(b"seed,sm\xffile\n")
    with pytest.raises(HspaceError, match=r"scores\.csv is no CSV in UTF-8"):
        read_scores(path)


def test_the_first_missing_seed_is_named() -> None:
    table = {1: {"smile": 0.0}, 2: {"smile": 1.0}}
    with pytest.raises(HspaceError, match=r"the table has no scores of seed 5 \(it lacks 2 of the 4 seeds\)"):
        scores_of(table, [1, 5, 2, 3])
    with pytest.raises(HspaceError, match=r"no scores of seed 9 \(it lacks the only one asked for\)"):
        scores_of(table, [9])
    with pytest.raises(HspaceError, match="the table of scores is empty"):
        scores_of({}, [1])
