"""Where input lies: paths of this machine, and URLs of any kind, behind one way to list and one way to open them.

``listing`` turns patterns into files, ``reading`` opens one as a seekable binary file, ``transports`` knows the
protocols, ``hosts`` keeps a run polite to each server.
"""
