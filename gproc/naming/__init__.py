"""How people name nodes: by places, by host names and groups, or as the nodes on which a job has failed.

`naming` is what all commands need; the other modules are imported only for words that are no paths of places.
"""
