"""Scaffold of a plugin: a kind and a name go in, the files of a package that passes its own tests come out.

The templates lie in this room, because nothing else reads them: `templates/base` is shared, and a folder for each kind
adds the plugin itself and its tests. They are data: no code of theirs runs here, and the engine that fills them in is
cookiecutter's.
"""
