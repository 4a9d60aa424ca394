"""Specs of tasks in several languages, one record each.

A group is one item of the source, the same in every language: a template, or a sentence with its translations. A task
without groups has texts that were written in each language and not translated.
"""

from __future__ import annotations

from harness import Columns, HubSource, TaskSpec

SIB200 = """
am ar bn de el en es fa fr ha he hi id ig it ja ko nl pl pt ru rw sw ta th tr uk ur vi wo yo zh-Hans zh-Hant zu
""".strip().split()
"""34 of its 205 languages: many scripts, with much and with little text on the web."""

MASSIVE = """
af am ar az bn cy da de el en es fa fi fr he hi hu hy id is it ja jv ka km kn ko lv ml mn ms my nb nl pl pt ro ru sl sq
sv sw ta te th tl tr ur vi zh-CN zh-TW
""".strip().split()

TASKS = (
    # The English rows are those of hatecheck, and templates have the same numbers there.
    TaskSpec(
        name="multilingual_hatecheck",
        version=1,
        summary="Is a templated functional test case hateful or not, in 11 languages?",
        languages=("ar", "de", "en", "es", "fr", "hi-Latn", "it", "nl", "pl", "pt", "zh"),
        licence="CC BY 4.0",
        citation=(
            "Paul Röttger, Haitham Seelawi, Debora Nozza, Zeerak Talat, Bertie Vidgen (2022). Multilingual HateCheck: "
            "Functional Tests for Multilingual Hate Speech Detection Models. WOAH; "
            "Paul Röttger, Bertie Vidgen, Dong Nguyen, Zeerak Waseem, Helen Margetts, Janet B. Pierrehumbert "
            "(2021). HateCheck: Functional Tests for Hate Speech Detection Models. ACL-IJCNLP."
        ),
        columns=Columns(language="lang", group="templ_id"),
        content_warning=True,
    ),
    TaskSpec(
        name="sib200",
        version=1,
        summary="Which of seven topics is a sentence about, in 34 languages that have the same sentences?",
        languages=tuple(SIB200),
        licence="CC BY-SA 4.0 (FLORES-200 text, SIB-200 labels), Apache-2.0 (the repository)",
        citation=(
            "David Ifeoluwa Adelani et al. (2024). SIB-200: A Simple, Inclusive, and Big Evaluation Dataset for Topic "
            "Classification in 200+ Languages and Dialects. EACL; "
            "NLLB Team (2022). No Language Left Behind: Scaling Human-Centered Machine Translation. arXiv:2207.04672."
        ),
        columns=Columns(language="lang", group="index_id"),
    ),
    # Its own split is by text, with siblings of one template on both sides. Split by template, a language may have no
    # test
    # rows, or very few training rows: there are 15 templates in all.
    TaskSpec(
        name="madlibs_toxicity",
        version=1,
        summary="Is a sentence from a template toxic, whoever it is about, in five languages?",
        languages=("de", "en", "hi-Latn", "nl", "zh"),
        licence="CC BY 4.0",
        citation=(
            "Lucas Dixon, John Li, Jeffrey Sorensen, Nithum Thain, Lucy Vasserman (2018). Measuring and Mitigating "
            "Unintended Bias in Text Classification. AIES."
        ),
        columns=Columns(language="lang", group="template", split=None),
        content_warning=True,
    ),
    TaskSpec(
        name="offensive_de_zh",
        version=1,
        summary="Is a German tweet, or a Chinese post, offensive?",
        languages=("de", "zh"),
        licence="CC BY 4.0 (GermEval 2018), Apache-2.0 (COLD); tweets under Twitter terms",
        citation=(
            "Michael Wiegand, Melanie Siegel, Josef Ruppenhofer (2018). Overview of the GermEval 2018 Shared Task on "
            "the Identification of Offensive Language. KONVENS; "
            "Jiawen Deng, Jingyan Zhou, Hao Sun, Chujie Zheng, Fei Mi, Helen Meng, Minlie Huang (2022). COLD: A "
            "Benchmark for Chinese Offensive Language Detection. EMNLP."
        ),
        columns=Columns(language="lang"),
        content_warning=True,
    ),
    # Oromo and Tigrinya have no training rows: they can only be tested on.
    TaskSpec(
        name="afrisenti",
        version=1,
        summary="Is a tweet positive, negative or neutral, in 14 languages of Africa?",
        languages=("am", "arq", "ary", "ha", "ig", "om", "pcm", "pt-MZ", "rw", "sw", "ti", "ts", "tw", "yo"),
        licence="CC BY 4.0; tweets under Twitter terms",
        citation=(
            "Shamsuddeen Hassan Muhammad et al. (2023). AfriSenti: A Twitter Sentiment Analysis Benchmark for African "
            "Languages. EMNLP."
        ),
        columns=Columns(language="lang"),
        content_warning=True,
    ),
    # On the hub each language is a split. `hin` is the hub's name for Hindi in Latin script.
    TaskSpec(
        name="multilingual_toxicity",
        version=1,
        summary="Is a comment toxic, in 15 languages?",
        source=HubSource(
            hub="textdetox/multilingual_toxicity_dataset",
            revision="01907546324b0330d2d8b7669648cc18823323e5",
            columns=Columns(label="toxic", language="split", split=None),
            labels={"0": "not_toxic", "1": "toxic"},
        ),
        languages=("am", "ar", "de", "en", "es", "fr", "he", "hi", "hin", "it", "ja", "ru", "tt", "uk", "zh"),
        licence="OpenRAIL++",
        citation=(
            "Daryna Dementieva et al. (2024). Overview of the Multilingual Text Detoxification Task at PAN 2024. CLEF."
        ),
        columns=Columns(language="lang"),
        content_warning=True,
    ),
    TaskSpec(
        name="multilingual_massive_scenario",
        version=1,
        summary="Which of 18 scenarios does a request to a voice assistant belong to, in 51 languages?",
        source=HubSource(
            hub="mteb/amazon_massive_scenario",
            revision="fad2c6e8459f9e1c45d9315f4953d921437d70f8",
            config="default",
            columns=Columns(label="label_text", language="lang", group="id"),
        ),
        languages=tuple(MASSIVE),
        licence="CC BY 4.0",
        citation=(
            "Jack FitzGerald et al. (2023). MASSIVE: A 1M-Example Multilingual Natural Language Understanding Dataset "
            "with 51 Typologically-Diverse Languages. ACL."
        ),
        columns=Columns(language="lang", group="id"),
    ),
)
