"""The page of a board: one HTML file that needs no server, no network and no script.

A board enters, and what was stated of it (author, licence, commit); the page leaves. `overview` answers the first
question, `tables` hold every row, `matrices` the heat maps. `templates/` and `assets/` are its HTML, style and script;
the table library is a copy of a released one, with its licence beside it.
"""
