"""Upload of a board: its files to a folder, a Space or a dataset of the Hugging Face hub.

A published folder or a run folder enters, checked first; the bytes that others may see leave, and nothing else does.
"""
