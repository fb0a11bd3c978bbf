"""`hayabin import` and `hayabin export`: files to and from a running Hayabin, over its REST API."""
