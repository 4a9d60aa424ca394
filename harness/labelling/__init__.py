"""Labels made by a model: its answers to items, right, wrong or refused.

Items enter; answers with their scores leave as a task's labels."""
