"""The services of Hayabin."""
