"""Tasks on the 113 binary sets of sae-probes, and a command that converts a user's copy of them to a mirror.

    python -m harness_probing.sae_probes FOLDER -o DATA_DIR

FOLDER is a clone of github.com/sae-probes/sae-probes, its installed package, or the folder of csv files that the
paper links to; DATA_DIR is later given as `--data-dir`. Each set becomes two tasks: `sae_probes_click_bait` has all
its rows, cleaned and split like any task; `sae_probes_click_bait_original` has the rows and the split of the paper's
results, with the test rows that are also in training (18.6 % of a set on average).

Kantamneni, Engels, Rajamanoharan, Tegmark, Nanda (2025), "Are Sparse Autoencoders Useful? A Case Study in Sparse
Probing", ICML; arXiv:2502.16681.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import Columns, DataError, HarnessError, TaskSpec, name_some, printable, read_table

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, np.dtype[np.int64]]

SETS = tuple(
    """\
5_hist_fig_ismale
6_hist_fig_isamerican
7_hist_fig_ispolitician
21_headline_istrump
22_headline_isobama
23_headline_ischina
24_headline_isiran
26_headline_isfrontpage
36_sciq_tf
41_truthqa_tf
42_temp_sense
44_phys_tf
47_reasoning_tf
48_cm_correct
49_cm_isshort
50_deon_isvalid
51_just_is
52_virtue_is
54_cs_tf
56_wikidatasex_or_gender
57_wikidatais_alive
58_wikidatapolitical_party
59_wikidata_occupation_isjournalist
60_wikidata_occupation_isathlete
61_wikidata_occupation_isactor
62_wikidata_occupation_ispolitician
63_wikidata_occupation_issinger
64_wikidata_occupation_isresearcher
65_high-school
66_living-room
67_social-security
68_credit-card
69_blood-pressure
70_prime-factors
71_social-media
72_gene-expression
73_control-group
74_magnetic-field
75_cell-lines
76_trial-court
77_second-derivative
78_north-america
79_human-rights
80_side-effects
81_public-health
82_federal-government
83_third-party
84_clinical-trials
85_mental-health
87_glue_cola
89_glue_mrpc
90_glue_qnli
91_glue_qqp
92_glue_sst2
94_ai_gen
95_toxic_is
96_spam_is
100_news_fake
105_click_bait
106_hate_hate
107_hate_offensive
110_aimade_humangpt3
113_movie_sent
114_nyc_borough_Manhattan
115_nyc_borough_Brooklyn
116_nyc_borough_Bronx
117_us_state_FL
118_us_state_CA
119_us_state_TX
120_us_timezone_Chicago
121_us_timezone_New_York
122_us_timezone_Los_Angeles
123_world_country_United_Kingdom
124_world_country_United_States
125_world_country_Italy
126_art_type_book
127_art_type_song
128_art_type_movie
129_arith_mc_A
130_temp_cat_Frequency
131_temp_cat_Typical Time
132_temp_cat_Event Ordering
133_context_type_Causality
134_context_type_Belief_states
135_context_type_Event_duration
136_glue_mnli_entailment
137_glue_mnli_neutral
138_glue_mnli_contradiction
139_news_class_Politics
140_news_class_Technology
141_news_class_Entertainment
142_cancer_cat_Thyroid_Cancer
143_cancer_cat_Lung_Cancer
144_cancer_cat_Colon_Cancer
145_disease_class_digestive system diseases
146_disease_class_cardiovascular diseases
147_disease_class_nervous system diseases
148_twt_emotion_worry
149_twt_emotion_happiness
150_twt_emotion_sadness
151_it_tick_HR Support
152_it_tick_Hardware
153_it_tick_Administrative rights
154_athlete_sport_football
155_athlete_sport_basketball
156_athlete_sport_baseball
157_amazon_5star
158_code_C
159_code_Python
160_code_HTML
161_agnews_0
162_agnews_1
163_agnews_2
""".splitlines()
)
"""Names of the files, as in the list of datasets of sae-probes; some contain spaces."""

OFFENSIVE = {"95_toxic_is", "106_hate_hate", "107_hate_offensive"}


def tasks() -> tuple[TaskSpec, ...]:
    """Return both tasks of every set; their data are in the mirror that `convert` writes."""
    return tuple(_task(stem, original=original) for stem in SETS for original in (False, True))


def task_name(stem: str) -> str:
    """Return the task's name of a file: `sae_probes_temp_cat_typical_time` for `131_temp_cat_Typical Time`."""
    tag = stem.split("_", 1)[1].lower()
    return f"sae_probes_{re.sub('[^a-z0-9]+', '_', tag)}"


def _task(stem: str, *, original: bool) -> TaskSpec:
    rows = "the paper's rows and split, leaks kept" if original else "all rows, cleaned"
    return TaskSpec(
        name=task_name(stem) + ("_original" if original else ""),
        version=1,
        summary=f"Set {stem} of the 113 binary ones of sae-probes: {rows}.",
        languages=("en",),
        licence="MIT for the collection; each set's text has the licence of its source",
        citation=(
            "Subhash Kantamneni, Joshua Engels, Senthooran Rajamanoharan, Max Tegmark, Neel Nanda (2025). Are Sparse "
            "Autoencoders Useful? A Case Study in Sparse Probing. ICML."
        ),
        columns=Columns(split="split" if original else None),
        content_warning=stem in OFFENSIVE,
        keep_leaks=original,
    )


# ── the paper's split ────────────────────────────────────────────────────────────────────────────────────

FIRST, TRAIN, LEFT, SEED = 5000, 1024, 100, 42
"""Limits of the split: at most 1024 of the first 5000 rows for training, at least about 100 for testing."""

FOLDED_BELOW, VALIDATION, VALIDATION_SHARE = 128, 100, 0.2
"""Least training rows with a validation split: their last fifth, at most 100 rows."""


def split_rows(positive: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    """Return `train`, `validation`, `test` or "" (unused) for each row of a set, in file order.

    The split is that of `get_train_test_indices` and `get_cv` of sae-probes in the normal setting, with equal classes
    in training and in test. `positive` marks the rows of the class whose name sorts last. Raises DataError if there
    are too few rows.

    Validation rows are the last of the training rows in the order drawn. The paper trains on them too afterwards.
    """
    import numpy as np

    labels = positive[:FIRST]
    n_train = min(len(positive) - LEFT, TRAIN)
    n_test = len(labels) - n_train - 1
    random = np.random.RandomState(SEED)
    try:
        positive_rows, negative_rows = np.flatnonzero(labels), np.flatnonzero(~labels)
        train = _draw(random, positive_rows, negative_rows, n_train)
        positive_rows, negative_rows = (np.setdiff1d(rows, train) for rows in (positive_rows, negative_rows))
        test = _draw(random, positive_rows, negative_rows, n_test)
    except ValueError as error:
        raise DataError(
            f"sae-probes' split needs two classes alike and more than {LEFT} rows, not {labels.sum()} and "
            f"{(~labels).sum()}"
        ) from error
    train, test = random.permutation(train), random.permutation(test)
    held_out = min(int(VALIDATION_SHARE * n_train), VALIDATION) if n_train >= FOLDED_BELOW else 0
    splits = np.full(len(positive), "", dtype=object)
    splits[train], splits[test] = "train", "test"
    splits[train[n_train - held_out :]] = "validation"
    return list(splits)


def _draw(random: np.random.RandomState, positive: Rows, negative: Rows, n: int) -> Rows:
    """Draw half of `n` rows from each class, the odd one positive."""
    import numpy as np

    more = -(-n // 2)
    chosen = [
        random.choice(rows, size=size, replace=False)
        for rows, size in ((positive, more), (negative, n - more))
    ]
    return np.concatenate(chosen)


# ── a user's copy as a mirror ────────────────────────────────────────────────────────────────────────────


def convert(folder: Path, data_dir: Path) -> list[str]:
    """Write `DATA_DIR/<task>/data.parquet` for both tasks of every set with a file under `folder`.

    Returns the names of the sets without a file. Raises DataError if no set has one, or if a file has another format.
    """
    import numpy as np

    found = find_files(folder)
    if not found:
        raise DataError(f"'{folder}' holds no csv file of sae-probes, such as '{SETS[0]}.csv'")
    for stem, path in found.items():
        texts, labels = _read(path)
        try:
            splits = split_rows(np.asarray(labels) == max(labels))
        except DataError as error:
            raise DataError(f"'{path}': {error}") from error
        rows = [row for row, split in enumerate(splits) if split]
        name = task_name(stem)
        _write(data_dir / name, {"text": texts, "label": labels})
        _write(
            data_dir / f"{name}_original",
            {
                "text": [texts[row] for row in rows],
                "label": [labels[row] for row in rows],
                "split": [splits[row] for row in rows],
            },
        )
    return [stem for stem in SETS if stem not in found]


_NAME = re.compile(r"(.+?)\.(?:csv|tsv)(\.gz|\.zst)?", re.IGNORECASE)
"""Name of a set, and how its file is packed."""


def find_files(folder: Path) -> dict[str, Path]:
    """Return the file of each set, in the order of SETS.

    Plain csv files come before those of the package, which are packed and whose texts are cut.
    """
    found = [(match, path) for path in sorted(folder.rglob("*")) if (match := _NAME.fullmatch(path.name))]
    packed = {match[1]: path for match, path in found if match[2]}
    by_name = packed | {match[1]: path for match, path in found if not match[2]}
    return {stem: by_name[stem] for stem in SETS if stem in by_name}


def _read(path: Path) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a file, in its order."""
    columns = read_table(path, needed=("prompt", "target"))
    if missing := [name for name in ("prompt", "target") if name not in columns]:
        raise DataError(
            f"'{path}' is not a csv file with the columns prompt and target: it lacks {missing[0]}, and has "
            f"{name_some(sorted(columns), nothing='no rows')}"
        )
    texts, labels = columns["prompt"], columns["target"]
    if len(classes := sorted(set(labels))) != 2:
        raise DataError(f"'{path}' has {len(classes)} targets, not two")
    return texts, labels


def _write(folder: Path, columns: Mapping[str, Sequence[str]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "data.parquet.part"
    parquet.write_table(pa.table(dict(columns)), part, compression="zstd")
    part.replace(folder / "data.parquet")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--data-dir",
    required=True,
    envvar="HARNESS_DATA_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the mirror is, or shall be.",
)
def main(folder: Path, data_dir: Path) -> None:
    """Make a mirror of a copy of sae-probes' data in FOLDER."""
    try:
        missing = convert(folder, data_dir)
    except HarnessError as error:
        click.echo(printable(f"error: {error}"), err=True)
        sys.exit(error.exit_code)
    click.echo(printable(f"wrote {len(SETS) - len(missing)} of {len(SETS)} sets to '{data_dir}'"))
    if missing:
        click.echo(printable(f"not found: {_some(missing)}"), err=True)


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


if __name__ == "__main__":
    main()
