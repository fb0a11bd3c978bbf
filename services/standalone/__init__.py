"""Hayabin on one machine without any server installed: the five services in one process group on embedded parts.

``hayabin up`` (``up``) stays, ``hayabin demo`` (``demo``) runs the main job from contacts to report and checks it.
"""
