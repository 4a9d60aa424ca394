"""YAML in, a suite out: short spellings, overrides, and a sentence with the line for every fault."""

from __future__ import annotations

import re

import pytest

from harness import FileSource, HarnessError, HubSource, UnavailableError, UsageError
from harness.config.suite import read_suite
from harness.config.task_file import read_task, read_tasks
from harness.session import open_registry

SUITE = """\
name: toy
version: 2
tasks: [sms_spam, {name: banking77, limit: 4000}]
models:
  - {ref: minigemma-m, sites: [resid_post.25%, resid_post.50%]}
  - {ref: google/gemma-2-2b, sites: "resid_post.[5,12,19]", dtype: bfloat16}
representations: [hidden, "gemma-scope[width=16k,l0=~100]"]
poolings: [max, {name: topn_count, n: 20}]
transforms: [none]
classifiers: [logreg]
seeds: 3
"""

TASK = """\
name: my_task
version: 1
source: {file: data.parquet}
columns: {input: text, label: label, split: split, language: lang, group: templ_id}
languages: [en]
licence: CC BY 4.0
citation: nobody
"""


@pytest.fixture
def suite(write):
    """The path of the suite above."""
    return write("toy.yaml", SUITE)


def refusal(read, *arguments, **overrides):
    """The sentence of the HarnessError that reading ends in."""
    with pytest.raises(HarnessError) as refused:
        read(*arguments, **overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ── spellings ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_suite_of_SCHEMAS_is_read(suite):
    read = read_suite(suite)
    assert [(task.name, task.limit) for task in read.tasks] == [("sms_spam", None), ("banking77", 4000)]
    assert read.models[0].sites == ("resid_post.25%", "resid_post.50%")
    assert read.models[1].sites == ("resid_post.[5,12,19]",)
    assert read.models[1].parameters == {"dtype": "bfloat16"}
    assert read.representations == ("hidden", "gemma-scope[width=16k,l0=~100]")
    assert read.poolings == ("max", {"name": "topn_count", "n": 20})
    assert read.seeds == (0, 1, 2)
    assert read.version == 2


def test_short_and_long_spellings_are_the_same_suite(write):
    short = "tasks: [a]\nmodels: [m]\nrepresentations: [hidden]\nseeds: 2\n"
    long = (
        "tasks: [{name: a}]\nmodels: [{ref: m, sites: [resid_post.50%]}]\nrepresentations: [hidden]\n"
        "poolings: [mean]\ntransforms: [none]\nclassifiers: [logreg]\nseeds: [0, 1]\nversion: 1\n"
    )
    first, second = (
        read_suite(write(f"{number}.yaml", f"name: toy\n{text}")) for number, text in enumerate((short, long))
    )
    assert first == second


@pytest.mark.parametrize("name", ["quickstart", "general-text", "safety-text"])
def test_the_built_in_suites_are_sound(name):
    registry = open_registry()
    read = read_suite(registry.get("suites", name).spec)
    assert read.name == name
    for task in read.tasks:
        assert registry.get("tasks", task.name)
    for kind in ("poolings", "transforms", "classifiers"):
        for reference in getattr(read, kind):
            assert registry.choose(kind, reference)


def test_a_models_own_representations_are_a_list_and_are_dumped_only_where_there_are_any(write):
    text = "name: toy\ntasks: [a]\nrepresentations: [hidden]\nmodels: [{ref: m, representations: pca, dtype: x}, n]\n"
    read = read_suite(write("own.yaml", text))
    assert [model.representations for model in read.models] == [("pca",), ()]
    assert read.model_dump(mode="json")["models"] == [
        {"ref": "m", "sites": ["resid_post.50%"], "representations": ["pca"], "dtype": "x"},
        {"ref": "n", "sites": ["resid_post.50%"]},
    ]


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────


def test_models_in_place_of_the_suites_keep_its_own_entry_where_it_has_one(suite):
    read = read_suite(suite, models=["google/gemma-2-2b"])
    assert [(model.ref, model.sites, model.parameters) for model in read.models] == [
        ("google/gemma-2-2b", ("resid_post.[5,12,19]",), {"dtype": "bfloat16"})
    ]


def test_a_new_model_takes_the_sites_of_the_suites_first(suite):
    read = read_suite(suite, models=["./mine", "minigemma-m"])
    assert [(model.ref, model.sites) for model in read.models] == [
        ("./mine", ("resid_post.25%", "resid_post.50%")),
        ("minigemma-m", ("resid_post.25%", "resid_post.50%")),
    ]


def test_tasks_in_place_of_the_suites_keep_its_own_limit(suite):
    read = read_suite(suite, tasks=["banking77", "other"])
    assert [(task.name, task.limit) for task in read.tasks] == [("banking77", 4000), ("other", None)]


def test_limit_and_seeds_are_set(suite):
    read = read_suite(suite, limit=50, seeds=2)
    assert (read.limit, read.seeds) == (50, (0, 1))


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("name=other", "name", "other"),
        ("poolings=[mean, sum]", "poolings", ("mean", "sum")),
        ("poolings.1.n=5", "poolings", ("max", {"name": "topn_count", "n": 5})),
        ("poolings.0=sum", "poolings", ("sum", {"name": "topn_count", "n": 20})),
        ("seeds=1", "seeds", (0,)),
        ("seeds=[4, 5]", "seeds", (4, 5)),
        ("summary=a = b", "summary", "a = b"),
        ("limit=7", "limit", 7),
    ],
)
def test_any_field_can_be_set(suite, setting, field, value):
    assert getattr(read_suite(suite, settings=[setting]), field) == value


def test_fields_of_list_items_can_be_set_however_short_they_are_written(suite):
    read = read_suite(
        suite,
        settings=["tasks.0.limit=9", "models.0.ref=x", "models.1.sites.0=resid_post.3", "models.0.dtype=f"],
    )
    assert read.tasks[0].limit == 9
    assert (read.models[0].ref, read.models[0].parameters) == ("x", {"dtype": "f"})
    assert read.models[1].sites == ("resid_post.3",)


def test_settings_come_after_the_other_overrides_and_the_last_setting_wins(suite):
    read = read_suite(
        suite, settings=["seeds=2", "limit=3", "limit=4", "models.0.ref=c"], models=["a"], seeds=1
    )
    assert (read.limit, read.seeds, read.models[0].ref) == (4, (0, 1), "c")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("name", "--set 'name' is not of the form a.b=value"),
        ("=1", "--set '=1' is not of the form a.b=value"),
        (
            "name=[",
            "--set 'name': '[' is not a YAML value: line 1: expected the node content, but found '<stream end>'",
        ),
        (
            "name=2020-13-45",
            "--set 'name' line 1: '2020-13-45' is neither text, a finite number, yes, no nor nothing; "
            'text needs quotes: "2020-13-45"',
        ),
        ("poolings.7=max", "--set 'poolings.7=max': the suite has no place '7' there"),
        ("poolings.-1=max", "--set 'poolings.-1=max': the suite has no place '-1' there"),
        ("poolings.²=max", "--set 'poolings.²=max': the suite has no place '²' there"),
        ("models.5.ref=x", "--set 'models.5.ref=x': the suite has no place '5' there"),
        ("limit={a: 1, a: 2}", "--set 'limit' line 1: 'a' stands twice"),
        (
            "limit={on: 1}",
            '''--set 'limit' line 1: the name on is read as true; as a name or other text it needs quotes: "on"''',
        ),
        ("limit=[*a]", "--set 'limit' line 1: the alias '*a' is not read: write its value out"),
        ("limit=" + "[" * 3000, "--set 'limit' line 1: nested deeper than 16 levels"),
        ("name.x=1", "--set 'name.x=1': the suite has no place 'x' there"),
        ("name.x.y=1", "--set 'name.x.y=1': the suite has no place 'x' there"),
    ],
)
def test_a_setting_that_fits_nowhere_is_refused(suite, setting, sentence):
    assert refusal(read_suite, suite, settings=[setting]) == sentence


def test_a_setting_of_an_unknown_field_is_refused(suite):
    assert "there is no field 'colour'" in refusal(read_suite, suite, settings=["colour.of=red"])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("yes", True),
        ("off", False),
        ("n", "n"),
        ("~", None),
        ("017", 15),
        ("0o17", "0o17"),
        ("08", "08"),
        ("1:30", 90),
        ("1e3", "1e3"),
        ("1.5e3", "1.5e3"),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("+.5", "+.5"),
        ("1_000", 1000),
        ("'no'", "no"),
    ],
)
def test_a_word_of_a_suite_means_what_it_means_in_YAML_1_1(suite, word, value):
    read = read_suite(suite, settings=[f"poolings=[{{name: count, t: {word}}}]"])
    assert read.poolings == ({"name": "count", "t": value},)
    assert type(read.poolings[0]["t"]) is type(value)


# ── faults, with their lines ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("version: 2", "version: two", "line 2: version: input should be a valid integer"),
        ("version: 2", "colour: red", "line 2: there is no field 'colour'"),
        ("limit: 4000", "limit: 0", "line 3: tasks.1.limit: input should be greater than or equal to 1"),
        ("limit: 4000", "rows: 1", "line 3: there is no field 'tasks.1.rows'"),
        ("ref: minigemma-m, ", "", "line 5: the field 'models.0.ref' is missing"),
        ("seeds: 3", "seeds: three", "line 11: seeds: input should be a list"),
        ("seeds: 3", "seeds: 0", "line 11: seeds must not be empty"),
        ("seeds: 3", "seeds: [-1]", "line 11: seeds.0: input should be greater than or equal to 0"),
        (
            "classifiers: [logreg]",
            "classifiers: []",
            "line 10: classifiers must not be empty",
        ),
        (
            "name: toy",
            "name: ../up",
            "line 1: name: '../up' is no name: it needs a letter or digit, and then only letters",
        ),
        (
            "name: toy",
            "name: on",
            'line 1: name: on is read as true; as a name or other text it needs quotes: "on"',
        ),
        (
            "[none]",
            "[no]",
            'line 9: transforms.0: no is read as false; as a name or other text it needs quotes: "no"',
        ),
        ("name: toy\n", "", ": the field 'name' is missing"),
        ("seeds: 3", "name: toy", "line 11: 'name' stands twice, first on line 1"),
        ("n: 20", "n: 20, n: 21", "line 8: 'n' stands twice"),
        ("seeds: 3", "? [a]\n: 1", "line 11: a field's name must be plain text"),
        ("[none]", "[none", "not valid YAML: line 10: "),
        (
            "seeds: 3",
            "\tseeds: 3",
            "not valid YAML: line 11: found character '\\t' that cannot start any token",
        ),
        ("seeds: 3", "seeds: !x 3", "not valid YAML: line 11: could not determine a constructor"),
        ("version: 2", "version: 2020-13-45", "line 2: '2020-13-45' is neither text, a finite number"),
        ("seeds: 3", "summary: \x07", "not valid YAML: line 11: "),
    ],
)
def test_a_fault_is_one_sentence_with_the_file_and_the_line(write, old, new, sentence):
    assert old in SUITE
    path = write("bad.yaml", SUITE.replace(old, new))
    said = refusal(read_suite, path)
    assert said.startswith(f"suite '{path}'")
    assert sentence in said


def test_the_number_of_further_faults_is_told(write):
    said = refusal(read_suite, write("bad.yaml", "name: toy\ncolour: red\n"))
    assert said.endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a mapping of fields"),
        ("# nothing\n", "is not a mapping of fields"),
        ("- a\n- b\n", "is not a mapping of fields"),
        ("just text\n", "is not a mapping of fields"),
        ("name: a\n---\nname: b\n", "not valid YAML"),
        ("name: &a [*a]\n", "line 1: the alias '*a' is not read"),
        ("name: " + "[" * 3000, "line 1: nested deeper than 16 levels"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(write, text, sentence):
    said = refusal(read_suite, write("bad.yaml", text))
    assert sentence in said


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Müller\n".encode("latin-1"))
    assert (
        refusal(read_suite, path)
        == f"suite '{path}' is not valid YAML: it is not UTF-8 text: save it as UTF-8"
    )


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SUITE.encode())
    assert read_suite(path).name == "toy"


@pytest.mark.parametrize("what", ["nothing", "folder"])
def test_a_suite_that_is_not_there_or_a_folder_is_missing(tmp_path, what):
    path = tmp_path / "suite.yaml"
    if what == "folder":
        path.mkdir()
    with pytest.raises(UnavailableError, match=re.escape(f"suite '{path}' cannot be read: ")):
        read_suite(path)


# ── tasks as files ───────────────────────────────────────────────────────────────────────────────────────


def test_a_task_file_is_read_with_its_data_beside_it(write, tmp_path):
    task = read_task(write("deep/my_task.yaml", TASK))
    assert task.source == FileSource(file=tmp_path / "deep" / "data.parquet")
    assert (task.name, task.licence, task.languages, task.metric) == (
        "my_task",
        "CC BY 4.0",
        ("en",),
        "macro_f1",
    )
    assert (task.columns.language, task.columns.group) == ("lang", "templ_id")


def test_a_task_of_the_hub_is_pinned(write):
    text = TASK.replace("{file: data.parquet}", "{hub: org/name, revision: 1a2b3c, config: default}")
    assert read_task(write("t.yaml", text)).source == HubSource(
        hub="org/name", revision="1a2b3c", config="default"
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("{file: data.parquet}", "{hub: org/name}", "source.hub 'org/name' needs source.revision, a commit"),
        (
            "{file: data.parquet}",
            "{file: a, hub: b, revision: c}",
            "source needs either 'hub', 'file' or 'files'",
        ),
        ("{file: data.parquet}", "{}", "source needs either 'hub', 'file' or 'files'"),
        ("source: {file: data.parquet}\n", "", "the field 'source' is missing"),
        ("{file: data.parquet}", "{fil: x}", "line 3: there is no field 'source.fil'; did you mean 'file'?"),
        ("{file: data.parquet}", "{path: x}", "line 3: there is no field 'source.path'; known: "),
        ("input: text", "inputs: text", "there is no field 'columns.inputs'; did you mean 'input'?"),
        ("licence: CC BY 4.0", "license: CC BY 4.0", "there is no field 'license'; did you mean 'licence'?"),
        ("version: 1", "modality: sound", "line 2: modality: input should be 'text' or 'image'"),
        ("licence: CC BY 4.0\n", "", "the field 'licence' is missing"),
        ("version: 1", "version: 1\nversion: 1", "line 3: 'version' stands twice"),
        (
            "[en]",
            "[en, no]",
            'line 5: languages.1: no is read as false; as a name or other text it needs quotes: "no"',
        ),
        (
            "label: label",
            "label: 012",
            'line 4: columns.label: 012 is read as 10; as a name or other text it needs quotes: "012"',
        ),
    ],
)
def test_a_fault_of_a_task_file_is_one_sentence(write, old, new, sentence):
    assert old in TASK
    path = write("t.yaml", TASK.replace(old, new))
    said = refusal(read_task, path)
    assert said.startswith(f"task '{path}'")
    assert sentence in said


NO_TEXT = {
    "no": "false", "on": "true", "off": "false", "Yes": "true", "~": "nothing", "null": "nothing", "012": "10",
    "1:30": "90", "0x1F": "31", "1_000": "1000", "7": "a number", "1.5": "a number", "0": "a number",
}  # fmt: skip
"""Spellings of YAML 1.1 that are no text, and what they are read as."""


@pytest.mark.parametrize(("spelling", "read"), NO_TEXT.items())
def test_a_name_that_yaml_reads_as_something_else_is_told_to_be_quoted(write, spelling, read):
    said = f'{spelling} is read as {read}; as a name or other text it needs quotes: "{spelling}"'
    pairs = [(read_suite, SUITE, change) for change in (
        ("name: toy", "name: @"),
        ("[sms_spam,", "[@,"),
        ("{name: banking77,", "{name: @,"),
        ("representations: [hidden,", "representations: [@,"),
        ("poolings: [max,", "poolings: [@,"),
        ("name: topn_count", "@: 1, name: topn_count"),
        ("ref: minigemma-m,", "ref: @,"),
        ("sites: [resid_post.25%,", "sites: [@,"),
        ("seeds: 3", "transfers: [{from: @, to: a}]"),
        ("seeds: 3", "tokens: @"),
    )] + [(read_task, TASK, change) for change in (
        ("name: my_task", "name: @"),
        ("[en]", "[@]"),
        ("input: text", "input: @"),
        ("citation: nobody", "citation: @"),
        ("version: 1", "labels: {@: neg}"),
        ("version: 1", "labels: {neg: @}"),
        ("version: 1", "where: {year: @}"),
        ("version: 1", "class_names: {@: zero}"),
        ("{file: data.parquet}", "{file: @}"),
        ("{file: data.parquet}", "{files: {train: @, test: a.csv}}"),
        ("{file: data.parquet}", "{files: {train: [@], test: a.csv}}"),
        ("{file: data.parquet}", "{hub: a/b, revision: @}"),
    )]  # fmt: skip
    for read_file, text, (old, new) in pairs:
        assert old in text
        line = text[: text.index(old)].count("\n") + 1
        refused = refusal(read_file, write("f.yaml", text.replace(old, new.replace("@", spelling))))
        if not ("source" in old or "file" in old) or spelling not in ("~", "null") or "train" in new:
            assert f"line {line}: " in refused and said in refused and refused.endswith('"')
        if not any(one in new for one in ("name: ", "ref:", "transfers")):  # which may need more than quotes
            read_file(write("f.yaml", text.replace(old, new.replace("@", f'"{spelling}"'))))


@pytest.mark.parametrize("spelling", ["", "2020-01-01", ".nan", "!!binary aGk="])
def test_what_is_neither_a_name_nor_a_number_is_refused_too(write, spelling):
    refused = refusal(read_task, write("f.yaml", TASK.replace("nobody", spelling)))
    assert "line 7: " in refused and ("needs quotes" in refused or "is empty" in refused)


def test_norwegian_is_a_language_in_quotes_and_1e3_a_name(write):
    task = read_task(write("f.yaml", TASK.replace("[en]", "[en, 'no']").replace("nobody", "1e3")))
    assert task.languages == ("en", "no") and task.citation == "1e3"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "tasks: [sms_spam, {name: banking77, limit: 4000}]",
            "tasks:\n- a\n- b\n- {name: a, limit: 3}",
            "task 'a' is given twice: on line 4 and on line 6",
        ),
        ("{name: banking77, limit: 4000}", "sms_spam", "task 'sms_spam' is given twice: on line 3"),
        (
            "ref: google/gemma-2-2b, sites",
            "ref: minigemma-m, sites",
            None,  # with another dtype it is another model
        ),
        (
            'ref: google/gemma-2-2b, sites: "resid_post.[5,12,19]", dtype: bfloat16',
            "ref: minigemma-m",
            "model 'minigemma-m' is given twice: on line 5 and on line 6",
        ),
        ("[hidden,", "[hidden, {name: hidden},", "representation 'hidden' is given twice: on line 7"),
        (
            "poolings: [max, {name: topn_count, n: 20}]",
            "poolings:\n- {name: count, t: 1}\n- max\n- {t: 1, name: count}",
            "pooling 'count[t=1]' is given twice: on line 9 and on line 11",
        ),
        ("[none]", "[none, none]", "transform 'none' is given twice: on line 9"),
        ("seeds: 3", "seeds: [1, 2,\n 1]", "seed '1' is given twice: on line 11 and on line 12"),
    ],
)
def test_twins_say_where_both_stand(write, old, new, sentence):
    assert old in SUITE
    path = write("f.yaml", SUITE.replace(old, new))
    if sentence is None:
        assert len(read_suite(path).models) == 2
    else:
        assert refusal(read_suite, path) == f"suite '{path}': {sentence}"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("poolings=[a, a]", ": pooling 'a' is given twice"),
        ("poolings=[no]", ": poolings.0: false is no text; a name that is read so needs quotes"),
        ("classifiers=[{k: 1}]", ": classifiers.0: a mapping needs a 'name'"),
        ("modles=[]", ": there is no field 'modles'; did you mean 'models'?"),
    ],
)
def test_what_the_command_line_replaces_has_no_line_in_the_file(suite, setting, sentence):
    with pytest.raises(UsageError) as refused:
        read_suite(suite, settings=[setting])
    assert str(refused.value) == f"suite '{suite}'{sentence}"


def test_two_task_files_of_one_name_are_both_named(write):
    paths = [write("a.yaml", TASK), write("b.yaml", "version: 1\n" + TASK.replace("version: 1\n", ""))]
    said = refusal(read_tasks, paths)
    assert f"in '{paths[0]}' line 1 and in '{paths[1]}' line 2; rename one" in said


def test_a_task_file_without_languages_is_refused(write):
    path = write("t.yaml", TASK.replace("[en]", "[]"))
    with pytest.raises(UsageError, match="line 5: languages must not be empty"):
        read_task(path)
