"""Benchmark of featurizing: the harness against the limit of a machine, and against loops as people write them.

A model and a number of texts enter; ratios of arms that took turns, with their spread, leave.

    report ─┬─ setting    what all arms share: model, texts in batches, dictionaries with drawn weights
            ├─ arms ─┬─ limit    the same batches through the bare decoder, and the bare products of the encoders
            │        └─ loops    as people write them with transformers and with SAELens
            └─ rounds     arms in turn, and ratios of those of one round
"""
