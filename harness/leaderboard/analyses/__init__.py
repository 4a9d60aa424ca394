"""Analyses of a board: one further question each.

Selected cells and scores enter; tables of estimates leave."""
