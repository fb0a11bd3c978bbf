"""Where a person stands and how they are taken off: what the pages use of ``hayabin.database.unsubscribing``."""

from hayabin.database.unsubscribing import ALL_LISTS, Hand, Scope, Standing, look, stop

__all__ = ["ALL_LISTS", "Hand", "Scope", "Standing", "look", "stop"]
