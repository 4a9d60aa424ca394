"""Specs of the MOSAIC study's English sets, as they are on the hub and, as `mosaic_…`, the one part that it re-split.

In a hub source's columns, `split=None` means that the rows are one undivided split.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Columns, HubSource, TaskSpec

MASSIVE = (
    "Jack FitzGerald et al. (2023). MASSIVE: A 1M-Example Multilingual Natural Language Understanding Dataset "
    "with 51 Typologically-Diverse Languages. ACL."
)
STANCES = {
    "abortion": "the legalisation of abortion",
    "atheism": "atheism",
    "climate": "climate change being a real concern",
    "feminist": "the feminist movement",
    "hillary": "Hillary Clinton",
}


def stance_task(target: str, about: str) -> TaskSpec:
    """Return the task on one of the five targets of TweetEval's stance task."""
    return TaskSpec(
        name=f"stance_{target}",
        version=1,
        summary=f"Is a tweet for or against {about}, or neither?",
        source=HubSource(
            hub="cardiffnlp/tweet_eval",
            revision="b3a375baf0f409c77e6bc7aa35102b7b3534f8be",
            config=f"stance_{target}",
        ),
        languages=("en",),
        licence="unknown; tweets under Twitter terms",
        citation=(
            "Saif Mohammad, Svetlana Kiritchenko, Parinaz Sobhani, Xiaodan Zhu, Colin Cherry (2016). "
            "SemEval-2016 Task 6: Detecting Stance in Tweets. SemEval; "
            "Francesco Barbieri, Jose Camacho-Collados, Luis Espinosa-Anke, Leonardo Neves (2020). TweetEval: "
            "Unified Benchmark and Comparative Evaluation for Tweet Classification. Findings of EMNLP."
        ),
        content_warning=True,
    )


OFFICIAL = (
    TaskSpec(
        name="election_questions",
        version=1,
        summary="Is a question about an election harmless, or one that an assistant should refuse?",
        source=HubSource(
            hub="Anthropic/election_questions",
            revision="8c1d7cafb2226e75fb78f91e23da5ae702d05d39",
            columns=Columns(input="question", split=None),
        ),
        languages=("en",),
        licence="CC BY-NC-SA 4.0",
        citation="Anthropic (2024). Election Evaluations Dataset.",
        content_warning=True,
    ),
    TaskSpec(
        name="reject_prompts",
        version=1,
        summary="Is a prompt one to reject? The labels 0 and 1 are the hub's.",
        source=HubSource(
            hub="AIM-Harvard/reject_prompts",
            revision="83032b3800959da1b071439d8937e649829d8b8f",
            columns=Columns(split=None),
        ),
        languages=("en",),
        licence="Apache-2.0",
        citation=(
            "Jack Gallifant, Shan Chen et al. (2025). Sparse Autoencoder Features for Classifications and "
            "Transferability. arXiv:2502.11367."
        ),
        content_warning=True,
    ),
    TaskSpec(
        name="jailbreak_classification",
        version=1,
        summary="Is a prompt a jailbreak or benign?",
        source=HubSource(
            hub="jackhhao/jailbreak-classification",
            revision="2f2ceeb39658696fd3f462403562b6eea5306287",
            columns=Columns(input="prompt", label="type"),
        ),
        languages=("en",),
        licence="Apache-2.0",
        citation="Jack Hao (2023). Jailbreak Classification.",
        content_warning=True,
    ),
    TaskSpec(
        name="massive_intent",
        version=1,
        summary="Which of 60 intents does a request to a voice assistant have?",
        source=HubSource(
            hub="mteb/amazon_massive_intent",
            revision="4672e20407010da34463acc759c162ca9734bca6",
            config="en",
            columns=Columns(label="label_text"),
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=MASSIVE,
    ),
    TaskSpec(
        name="massive_scenario",
        version=1,
        summary="Which of 18 scenarios does a request to a voice assistant belong to?",
        source=HubSource(
            hub="mteb/amazon_massive_scenario",
            revision="fad2c6e8459f9e1c45d9315f4953d921437d70f8",
            config="en",
            columns=Columns(label="label_text"),
        ),
        languages=("en",),
        licence="CC BY 4.0",
        citation=MASSIVE,
    ),
    *(stance_task(target, about) for target, about in STANCES.items()),
)

BANKING = TaskSpec(
    name="banking77",
    version=1,
    summary="Which of 77 intents does a message to an online bank have?",
    source=HubSource(
        hub="mteb/banking77",
        revision="0fd18e25b25c072e09e0d92ab615fda904d66300",
        columns=Columns(label="label_text"),
    ),
    languages=("en",),
    licence="CC BY 4.0",
    citation="Iñigo Casanueva et al. (2020). Efficient Intent Detection with Dual Sentence Encoders. NLP4ConvAI.",
    mirror="banking77",
)

RE_SPLIT = {
    "jailbreak_classification": "test",
    "massive_intent": "train",
    "massive_scenario": "train",
    "stance_abortion": "train",
    "banking77": "train",
}
"""Set with an official split → the split whose rows the study took for the whole set."""


def as_re_split(task: TaskSpec, split: str) -> TaskSpec:
    """Return the task on the rows of one split of a task, undivided."""
    assert isinstance(task.source, HubSource)
    columns = task.source.columns or task.columns
    return replace(
        task,
        name=f"mosaic_{task.name}",
        summary=f"{task.summary} Its {split} rows alone, undivided.",
        source=replace(task.source, columns=replace(columns, split=None)),
        columns=replace(task.columns, split=None),
        where={"split": split},
        mirror=task.mirror or task.name,
    )


TASKS = (
    *OFFICIAL,
    *(as_re_split(task, RE_SPLIT[task.name]) for task in (*OFFICIAL, BANKING) if task.name in RE_SPLIT),
)
