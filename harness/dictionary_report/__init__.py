"""Reports on a dictionary: fit, next-token loss with it spliced in, consistency in unseen contexts.

Texts, a model and a dictionary enter; measures beside reference arms leave as a page."""
